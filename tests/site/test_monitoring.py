"""The dashboard and the alert rules use only metrics that the site has."""

from __future__ import annotations

import re
from pathlib import Path

from recsys_site.metrics import Metrics

_MONITORING = Path(__file__).resolve().parents[2] / "docker" / "monitoring"
_SELECTOR = re.compile(r"\b(recsys_site_[a-z0-9_]+)(?:\{([^}]*)\})?")


def exported_metrics() -> dict[str, set[str]]:
    """Sample names as Prometheus sees them, with the labels of each."""
    found: dict[str, set[str]] = {}
    for collector in set(Metrics().registry._collector_to_names):
        for family in collector.describe():
            labels = set(collector._labelnames)
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
            for suffix in suffixes.get(family.type, [""]):
                found[family.name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


def test_every_metric_and_label_in_use_exists():
    metrics = exported_metrics()
    used = [
        match
        for file in ("rules/recsys.yaml", "grafana/dashboards/recsys.json")
        for match in _SELECTOR.findall((_MONITORING / file).read_text().replace('\\"', '"'))
    ]
    assert used
    for name, selector in used:
        assert name in metrics, name
        assert set(re.findall(r"([a-z_]+)\s*[=!]", selector)) <= metrics[name], name


def test_every_metric_is_in_a_dashboard_or_an_alert_rule():
    text = "".join(
        (_MONITORING / file).read_text()
        for file in ("rules/recsys.yaml", "grafana/dashboards/recsys.json")
    )
    families = {f.name for c in Metrics().registry._collector_to_names for f in c.describe()}
    assert {name for name in families if name not in text} == set()
