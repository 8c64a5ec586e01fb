"""What the dashboard and the alert rules ask of the site is in its registry."""

from __future__ import annotations

import re
from pathlib import Path

from recsys_site.metrics import Metrics

_MONITORING = Path(__file__).resolve().parents[2] / "docker" / "monitoring"
_SELECTOR = re.compile(r"\b(recsys_site_[a-z0-9_]+)(?:\{([^}]*)\})?")


def offered() -> dict[str, set[str]]:
    """Names of samples, and the labels of each, as Prometheus will see them."""
    found: dict[str, set[str]] = {}
    for collector in set(Metrics().registry._collector_to_names):
        for family in collector.describe():
            labels = set(collector._labelnames)
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
            for suffix in suffixes.get(family.type, [""]):
                found[family.name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


def test_every_metric_and_label_that_is_asked_for_is_offered():
    offer = offered()
    asked = [
        match
        for file in ("rules/recsys.yaml", "grafana/dashboards/recsys.json")
        for match in _SELECTOR.findall((_MONITORING / file).read_text().replace('\\"', '"'))
    ]
    assert asked
    for name, selector in asked:
        assert name in offer, name
        assert set(re.findall(r"([a-z_]+)\s*[=!]", selector)) <= offer[name], name


def test_every_metric_that_is_offered_is_shown_or_watched():
    text = "".join(
        (_MONITORING / file).read_text()
        for file in ("rules/recsys.yaml", "grafana/dashboards/recsys.json")
    )
    families = {f.name for c in Metrics().registry._collector_to_names for f in c.describe()}
    assert {name for name in families if name not in text} == set()
