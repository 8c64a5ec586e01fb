"""The names and labels that rules and dashboard query are what arrives in Prometheus.

Airflow's own StatsD client sends, with the settings of Compose and of the chart's values, and the
exporter's mapping of each translates. test_airflow_metrics.py looks at Airflow's own components.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from recsys.monitoring import MetricType
from recsys.monitoring.metrics import METRICS
from tests.e2e.receivers import StatsD
from tests.statsd_exporter import Series, exported

Samples = list[tuple[str, dict[str, str], str, str]]
_SENDER = """
from datetime import timedelta
from airflow.observability.metrics import stats_utils
from airflow.sdk.observability import stats
from airflow.sdk._shared.observability.metrics.metrics_registry import MetricsRegistry
from airflow.sdk.configuration import conf
import yaml, json, os
from recsys.monitoring.metrics import METRICS
from recsys.recommenders import Description
from recsys_dag.metrics import emit

stats.initialize(
    factory=stats_utils.get_stats_factory(),
    export_legacy_names=conf.getboolean("metrics", "legacy_names_on"),
)
for name in ("movie_rec_sys", "books"):
    emit(
        (metric(1, **{tag: "x@1" for tag in metric.tags}) for metric in METRICS),
        Description(name=name, title="T", source="/data/r.zip"),
    )
registry = MetricsRegistry()
for name in json.loads(os.environ["NAMES"]):
    known = registry.get(name)
    tags = {tag: "x" for tag in known["name_variables"]}
    match known["type"]:
        case "counter":
            stats.incr(name, tags=tags)
        case "gauge":
            stats.gauge(name, 1, tags=tags)
        case "timer":
            stats.timing(name, timedelta(seconds=1), tags=tags)
"""


@pytest.fixture(scope="module")
def mappings(repository: Path) -> dict[str, list[dict[str, Any]]]:
    """The exporter's mapping under Compose and under the chart."""
    compose = yaml.safe_load((repository / "docker/monitoring/statsd.yaml").read_text())
    values = yaml.safe_load((repository / "k8s/airflow-values.yaml").read_text())
    assert set(compose) == {"mappings"}, "the chart has no place for anything else"
    return {"compose": compose["mappings"], "chart": values["statsd"]["overrideMappings"]}


@pytest.fixture(scope="module", params=["compose", "chart"])
def deployment(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def sent(
    deployment: str,
    mappings: dict[str, list[dict[str, Any]]],
    repository: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> StatsD:
    """What Airflow's client sends with the settings of a deployment."""
    if deployment == "compose":
        services = yaml.safe_load((repository / "docker-compose.yaml").read_text())["services"]
        settings = services["airflow-scheduler"]["environment"]
    else:
        values = yaml.safe_load((repository / "k8s/airflow-values.yaml").read_text())
        # The chart itself sets statsd_on, host, port and the prefix airflow.
        settings = {
            f"AIRFLOW__METRICS__{name.upper()}": value
            for name, value in values["config"]["metrics"].items()
        }
        settings["AIRFLOW__METRICS__STATSD_ON"] = str(values["statsd"]["enabled"])
    own = [line["match"].removeprefix("airflow.") for line in mappings[deployment]]
    names = [name for name in own if not name.startswith("recsys.")]
    with StatsD() as receiver:
        environment = {
            **{n: v for n, v in os.environ.items() if not n.startswith("AIRFLOW")},
            **{n: v for n, v in settings.items() if n.startswith("AIRFLOW__METRICS__")},
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(receiver.port),
            "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
            "NAMES": json.dumps(names),
        }
        done = subprocess.run(
            [sys.executable, "-c", _SENDER],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr.lower(), done.stderr
    return receiver


def queried(repository: Path) -> Series:
    """Series of Airflow and the pipeline in rules and dashboard, and labels selected or grouped."""
    folder = repository / "docker/monitoring"
    groups = yaml.safe_load((folder / "rules/recsys.yaml").read_text())["groups"]
    board = json.loads((folder / "grafana/dashboards/recsys.json").read_text())
    expressions = [rule["expr"] for group in groups for rule in group["rules"]]
    expressions += [t["expr"] for panel in board["panels"] for t in panel.get("targets", [])]
    found: Series = {}
    for expression in expressions:
        names = re.findall(r"\b((?:recsys|airflow)_[a-z0-9_]+)(?:\{([^}]*)\})?", expression)
        grouped = re.findall(r"\b(?:by|on) \(([^)]*)\)", expression)
        for name, selector in names:
            labels = set(re.findall(r"([a-z_]+)\s*[=!]", selector))
            labels |= {label.strip() for group in grouped for label in group.split(",")} - {"le"}
            if not name.startswith("recsys_site_"):
                found.setdefault(name, set()).update(labels)
    return found


def test_the_chart_has_the_mapping_of_compose(mappings: dict[str, list[dict[str, Any]]]) -> None:
    assert mappings["chart"] == mappings["compose"]


def test_every_query_finds_its_series_with_its_labels(
    sent: StatsD,
    deployment: str,
    mappings: dict[str, list[dict[str, Any]]],
    repository: Path,
) -> None:
    series = exported(sent.samples, mappings[deployment])
    for name, labels in queried(repository).items():
        assert name in series, name
        assert labels <= series[name], name


def test_every_mapping_is_used_and_keeps_the_type_of_its_metric(
    sent: StatsD, deployment: str, mappings: dict[str, list[dict[str, Any]]]
) -> None:
    kinds = {name: kind for name, _, _, kind in sent.samples}
    assert {line["match"] for line in mappings[deployment]} <= set(kinds)
    for line in mappings[deployment]:
        kind, name = kinds[line["match"]], line["name"]
        assert (kind == "c") == name.endswith("_total"), name
        assert (kind == "ms") == (line.get("observer_type") == "histogram"), name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    letters = {MetricType.COUNTER: "c", MetricType.GAUGE: "g", MetricType.TIMING: "ms"}
    for metric in METRICS:
        assert kinds[f"airflow.{metric.name}"] == letters[metric.type]


def test_the_real_exporter_agrees(
    sent: StatsD,
    deployment: str,
    mappings: dict[str, list[dict[str, Any]]],
    tmp_path: Path,
) -> None:
    program = shutil.which("statsd_exporter") or shutil.which("prometheus-statsd-exporter")
    if program is None:
        pytest.skip("statsd_exporter is not installed: its model in tests/ is not compared with it")
    file = tmp_path / "mapping.yaml"
    file.write_text(yaml.safe_dump({"mappings": mappings[deployment]}))
    ingest, scrape = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
    process = subprocess.Popen(
        [
            program,
            f"--statsd.mapping-config={file}",
            f"--statsd.listen-udp=127.0.0.1:{ingest}",
            "--statsd.listen-tcp=",
            f"--web.listen-address=127.0.0.1:{scrape}",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        wanted = exported(sent.samples, mappings[deployment])
        found: Series = {}
        for _ in range(100):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                for name, tags, value, kind in sent.samples:
                    line = "".join([name, *(f",{k}={v}" for k, v in tags.items())])
                    client.sendto(f"{line}:{value}|{kind}".encode(), ("127.0.0.1", ingest))
            time.sleep(0.2)
            found = scraped(scrape)
            if set(wanted) <= set(found):
                break
        assert {name: found.get(name) for name in wanted} == wanted
    finally:
        process.terminate()
        process.wait(30)


def free_port(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def scraped(port: int) -> Series:
    try:
        text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
    except requests.ConnectionError:
        return {}
    found: Series = {}
    for name, labels in re.findall(r"^([a-zA-Z_]\w*)(?:\{(.*)\})? ", text, re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found
