"""Alerts, metrics and lineage while real Airflow runs the real DAGs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from recsys import contract, monitoring
from recsys.contract import FeatureSettings
from recsys.monitoring import MetricType
from recsys.monitoring.metrics import METRICS
from recsys.services import Services
from tests.e2e.conftest import DEFAULTS, connections
from tests.e2e.receivers import StatsD, Webhook

DAG = "movie_rec_sys"
RECOVER = "movie_rec_sys_recover"
# The fixture runs seven DAG runs, two of them with a training.
pytestmark = pytest.mark.timeout(1800)


@dataclass
class Recorded:
    """Alerts, metrics and lineage of a few runs."""

    services: Services
    outcomes: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    webhook: Webhook = field(default_factory=Webhook)
    statsd: StatsD = field(default_factory=StatsD)
    lineage: list[dict[str, Any]] = field(default_factory=list)

    def places(self, task: str, side: str) -> dict[str, dict[str, Any]]:
        """By name, the facets of a step's inputs or outputs in its last event."""
        events = [e for e in self.lineage if e["job"]["name"] == f"{DAG}.{task}"]
        ended = [e for e in events if e["eventType"] == "COMPLETE"]
        return {d["name"]: d.get("facets", {}) for d in ended[-1][side]}


@pytest.fixture(scope="module")
def recorded(
    airflow_db, postgres_server, s3_server, small_dataset, changed_dataset, tmp_path_factory
) -> Iterator[Recorded]:
    """A rejection, a promotion, a failed run, and twice a look at a state that is stale."""
    from pydantic import SecretStr

    from recsys.database import PostgresSettings
    from tests.conftest import fresh_bucket, fresh_database

    folder = tmp_path_factory.mktemp("observability")
    trainer = folder / "python"
    trainer.write_text("#!/bin/sh\nexit 65\n")
    trainer.chmod(0o700)
    first = {"source": str(small_dataset), **DEFAULTS}
    broken = {"RECSYS_TRAINER_PYTHON": str(trainer)}
    stale = {"RECSYS_MAX_AGE_DAYS": "0"}
    runs = [
        (RECOVER, {}, {}),
        (DAG, {**first, "gate_min_ndcg_over_popularity": 1}, {}),
        (DAG, {**first, "force": True}, {}),
        (DAG, {**first, "source": str(changed_dataset)}, broken),
        (RECOVER, {}, {}),
        (RECOVER, {}, stale),
        (RECOVER, {}, stale),
    ]
    with fresh_database(postgres_server) as dsn, fresh_bucket(s3_server) as s3:
        made = Recorded(Services(postgres=PostgresSettings(dsn=SecretStr(dsn)), s3=s3))
        with made.webhook, made.statsd:
            environment = {
                **os.environ,
                **connections(made.services),
                "AIRFLOW__METRICS__STATSD_ON": "True",
                "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
                "AIRFLOW__METRICS__STATSD_PORT": str(made.statsd.port),
                "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
                "AIRFLOW__METRICS__LEGACY_NAMES_ON": "False",
                "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
                    {"type": "file", "log_file_path": str(folder / "events"), "append": True}
                ),
                "AIRFLOW__OPENLINEAGE__NAMESPACE": "recsys",
                "AIRFLOW__OPENLINEAGE__EXTRACTORS": "recsys_dag.openlineage.StepExtractor",
                "AIRFLOW__OPENLINEAGE__EXECUTE_IN_THREAD": "True",
                "RECSYS_ALERT_WEBHOOK_URL": made.webhook.url,
                "RECSYS_ALERT_HEARTBEAT_URL": made.webhook.url,
            }
            done = subprocess.run(
                [sys.executable, "-m", "tests.e2e.run_dags", json.dumps(runs), folder / "states"],
                env=environment,
                cwd=Path(__file__).resolve().parents[2],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        made.outcomes = json.loads((folder / "states").read_text())
        lines = (folder / "events").read_text().splitlines()
        made.lineage = [json.loads(line) for line in lines]
        yield made


def test_a_rejection_a_failure_and_staleness_are_each_reported_once(recorded):
    states = [state for state, _ in recorded.outcomes]
    expected = ["success"] * 3 + ["failed", "success", "failed", "failed"]
    assert states == expected, [errors for _, errors in recorded.outcomes]
    assert Counter(d["kind"] for d in recorded.webhook.documents) == {
        "rejected": 1,
        "run_failed": 1,
        "stale": 1,
    }
    assert len({d["event"] for d in recorded.webhook.documents}) == 3
    [failed] = [d for d in recorded.webhook.documents if d["kind"] == "run_failed"]
    assert failed["facts"]["run"].startswith("manual__")


def test_the_heartbeat_stops_when_something_is_wrong(recorded):
    # Asked by the two looks that found all well, not by the two that found it stale.
    assert recorded.webhook.pings == 2


def test_every_metric_is_really_sent_with_its_tags(recorded):
    tags: dict[str, set[str]] = {}
    kinds: dict[str, str] = {}
    for name, found, _, kind in recorded.statsd.samples:
        tags.setdefault(name, set()).update(found)
        kinds[name] = kind
    letters = {MetricType.COUNTER: "c", MetricType.GAUGE: "g", MetricType.TIMING: "ms"}
    for metric in METRICS:
        name = f"airflow.{metric.name}"
        assert name in tags, name
        assert tags[name] == set(metric.tags), name
        assert kinds[name] == letters[metric.type], name
    assert {"dag_id", "task_id"} <= tags["airflow.task.duration"]
    assert {"dag_id", "task_id", "state"} <= tags["airflow.ti.finish"]
    sent = {name for name in tags if name.startswith("airflow.recsys.")}
    assert sent == {f"airflow.{metric.name}" for metric in METRICS}


def test_metrics_say_what_happened(recorded):
    last: dict[tuple[str, ...], float] = {}
    total: Counter[tuple[str, ...]] = Counter()
    for name, tags, value, kind in recorded.statsd.samples:
        key = (name.removeprefix("airflow.recsys."), *tags.values())
        last[key] = float(value)
        if kind == "c":
            total[key] += int(value)
    assert total["gate.decisions", "reject"] == total["gate.decisions", "accept"] == 1
    assert total["builds", "new"] == 3
    assert last["events", "run_failed"] == last["events", "rejected"] == 1
    assert last["events", "promoted"] == last["releases", "champion"] == 1
    assert last["alerts.untold", "webhook"] == last["journal.age_seconds",] == 0
    champion = monitoring.read_status(recorded.services)["champion"]
    assert last["champion.promoted_timestamp_seconds",] == pytest.approx(
        champion["promoted_at"].timestamp(), abs=1e-3
    )
    assert last["champion.quality", "rmse"] == pytest.approx(champion["metrics"]["rmse"])
    assert 0 < last["promotion.stall",] <= last["promotion.duration",]


def test_lineage_leads_from_the_datasets_md5_to_the_public_names_of_its_release(
    recorded, small_dataset
):
    champion = monitoring.read_status(recorded.services)["champion"]
    md5, release_id = champion["dataset_md5"], champion["release_id"]
    dataset = contract.dataset_key(md5, contract.DATASET_FILE)
    interactions = contract.features_key(FeatureSettings().prefix(md5), contract.INTERACTIONS_FILE)
    model = contract.release_key(release_id, contract.MODEL_FILE)
    promoted = recorded.places("promote_release", "outputs")
    own = [contract.table_name(t.name, release_id) for t in contract.PUBLIC_TABLES]
    inputs = recorded.places("promote_release", "inputs")
    assert model in inputs
    assert {name.rpartition(".")[2] for name in inputs} >= set(own)
    assert contract.PUBLIC_MODEL_KEY in promoted
    assert {n.split(".", 1)[1] for n in promoted if "recsys_live" in n} == {
        f"recsys_live.{table.name}" for table in contract.PUBLIC_TABLES
    }
    facets = promoted[contract.PUBLIC_MODEL_KEY]
    assert facets["version"]["datasetVersion"] == release_id
    assert {t["key"]: t["value"] for t in facets["tags"]["tags"]} == {
        "dataset_md5": md5,
        "release_id": release_id,
    }
    ended = [e for e in recorded.lineage if e["eventType"] == "COMPLETE"]
    made_from = {
        (e["job"]["name"].partition(".")[2], i["name"], o["name"])
        for e in ended
        for i in e["inputs"]
        for o in e["outputs"]
    }
    assert ("fetch_dataset", str(small_dataset), dataset) in made_from
    assert ("generate_data_frames", dataset, interactions) in made_from
    # One for each run of the build: the release was trained by the first.
    candidates = {
        made
        for job, read, made in made_from
        if job == "train_dl_model"
        and read == interactions
        and made.endswith(f"/{contract.MODEL_FILE}")
        and release_id in made
    }
    assert candidates
    inbox = contract.release_inbox_prefix(release_id)
    assert all(candidate.startswith(inbox) for candidate in candidates)
    assert any(("verify_candidate", candidate, model) in made_from for candidate in candidates)


def test_lineage_holds_no_secret(recorded):
    text = json.dumps(recorded.lineage)
    s3 = recorded.services.s3
    assert s3.secret_key is not None
    assert s3.secret_key.get_secret_value() not in text
    assert recorded.services.postgres.dsn.get_secret_value() not in text


def test_the_callback_of_a_missed_deadline_alerts_once(pipeline, monkeypatch):
    from airflow.sdk.module_loading import import_string

    from recsys_dag.recommenders import DAGS

    dag = DAGS["movie_rec_sys"]

    [alert] = dag.deadline if isinstance(dag.deadline, list) else [dag.deadline]
    callback = import_string(alert.callback.path)
    with Webhook() as webhook:
        monkeypatch.setenv("RECSYS_ALERT_WEBHOOK_URL", webhook.url)
        context = {"dag_run": {"dag_run_id": "scheduled__1", "dag_id": DAG}}
        # A thread of its own: a browser's test in this process may have left a loop running.
        with ThreadPoolExecutor(1) as pool:
            for _ in range(2):
                pool.submit(lambda: asyncio.run(callback(context=context))).result()
    assert [d["kind"] for d in webhook.documents] == ["run_late"]
    assert webhook.about("scheduled__1") == ["run_late"]
