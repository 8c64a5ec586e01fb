"""Dashboard, alert rules and StatsD mapping refer to existing metrics and runbook entries."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
import yaml

from recsys.alerts.settings import AlertKind
from recsys.monitoring.metrics import METRICS

_METRIC = re.compile(r"\b((?:recsys|airflow)_[a-z0-9_]+)\b")


@pytest.fixture(scope="module")
def folder(repository):
    return repository / "docker" / "monitoring"


@pytest.fixture(scope="module")
def rules(folder):
    groups = yaml.safe_load((folder / "rules" / "recsys.yaml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@pytest.fixture(scope="module")
def panels(folder):
    dashboard = json.loads((folder / "grafana" / "dashboards" / "recsys.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions(rules, panels) -> list[str]:
    return [rule["expr"] for rule in rules.values()] + [
        target["expr"] for panel in panels for target in panel["targets"]
    ]


def test_the_mapping_contains_every_metric_of_the_pipeline(folder):
    mapping = yaml.safe_load((folder / "statsd.yaml").read_text())["mappings"]
    named = {line["match"]: line["name"] for line in mapping}
    assert len(named) == len(mapping) == len(set(named.values()))
    own = {match: name for match, name in named.items() if match.startswith("airflow.recsys.")}
    assert own == {f"airflow.{metric.name}": metric.prometheus for metric in METRICS}


def test_the_dashboard_shows_every_metric_of_the_pipeline(rules, panels):
    shown = set(_METRIC.findall("\n".join(expressions({}, panels))))
    for metric in METRICS:
        assert any(name.startswith(metric.prometheus) for name in shown), metric.name


def test_labels_in_queries_are_tags_of_the_metric(rules, panels):
    # All recommenders but the first have this tag.
    tags = {metric.prometheus: {*metric.tags, "recommender"} for metric in METRICS}
    selectors = re.findall(r"(recsys_[a-z0-9_]+)\{([^}]*)\}", " ".join(expressions(rules, panels)))
    for name, selector in selectors:
        labels = set(re.findall(r"([a-z_]+)\s*[=!]", selector)) - {"le"}
        base = re.sub("_(bucket|sum|count)$", "", name)
        if not name.startswith("recsys_site_"):
            assert labels <= tags[base], name


def test_every_panel_has_a_position_of_its_own_and_a_title(panels):
    positions = [tuple(panel["gridPos"].values()) for panel in panels]
    assert len(positions) == len(set(positions))
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["title"]
        assert panel["datasource"]["uid"] == "prometheus"
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_every_rule_has_a_severity_a_summary_and_a_runbook_entry(rules):
    assert rules
    for name, rule in rules.items():
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{kebab(name)}"


def kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


def test_the_runbook_has_an_entry_for_every_rule_and_kind_of_alert(rules, repository):
    text = (repository / "docs" / "runbook.md").read_text()
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", h.lower()).strip().replace(" ", "-") for h in headings}
    anchors |= set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    required = {kebab(name) for name in rules} | {
        kind.value.replace("_", "-") for kind in AlertKind
    }
    assert required - anchors == set()


def test_prometheus_scrapes_the_services_that_compose_starts(folder, repository):
    config = yaml.safe_load((folder / "prometheus.yaml").read_text())
    services = yaml.safe_load((repository / "docker-compose.yaml").read_text())["services"]
    targets = [
        target.partition(":")[0]
        for job in config["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    ]
    scraped = {"site", "statsd-exporter", "metadata-db-exporter"}
    assert set(targets) - {"127.0.0.1"} == scraped <= set(services)
    environment = services["airflow-scheduler"]["environment"]
    assert environment["AIRFLOW__METRICS__STATSD_HOST"] == "statsd-exporter"
    assert environment["AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED"] == "True"


@pytest.mark.parametrize(
    ("subcommand", "file"), [("rules", "rules/recsys.yaml"), ("config", "prometheus.yaml")]
)
def test_promtool_accepts_the_configuration(folder, tmp_path, subcommand, file):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: it comes with Debian's package prometheus")
    config = shutil.copytree(folder, tmp_path / "monitoring") / file
    text = config.read_text().replace("/etc/prometheus", str(tmp_path / "monitoring"))
    config.write_text(text)
    done = subprocess.run(
        [promtool, "check", subcommand, str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
