"""Each alert rule in Prometheus' own rules engine: when it fires, and when it is silent.

Needs promtool, which comes with Debian's package prometheus. The names and labels of the series are
those that the exporters emit: test_monitoring.py compares them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

Labels = Mapping[str, str]
STALL = "recsys_promotion_stall_seconds"
QUEUED = "airflow_task_queued_duration_seconds"
SCHEDULED = "airflow_task_scheduled_duration_seconds"
LOOP = "airflow_scheduler_loop_duration_seconds"
TASK = 'dag_id="movie_rec_sys",task_id="train_dl_model",queue="default"'
LATE_TASK = {"dag_id": "movie_rec_sys", "task_id": "train_dl_model"}
DAY = 24 * 60
# promtool's clock starts at 0; a time of 0 means never, so events are at minute 100.
EVENT = 6_000
OF_ANOTHER = "{{ with $labels.recommender }} ({{ . }}){{ end }}"
"""Series of the first recommender have no label, so its alerts do not name it."""


@dataclass(frozen=True)
class Case:
    """Series of a rule, and what it makes of them.

    Attributes:
        alert: the rule.
        title: what happened.
        series: values a minute from minute 0 on, in promtool's notation, by series.
        minute: when the rule is evaluated.
        fires: labels of the alert besides its severity; None: it is silent.
        step: minutes between two values and between two evaluations.
    """

    alert: str
    title: str
    series: Mapping[str, str]
    minute: int
    fires: Labels | None = field(default_factory=dict)
    step: int = 1


def events(kind: str, alert: str) -> list[Case]:
    newest = f'recsys_events_newest_timestamp_seconds{{kind="{kind}"}}'
    return [
        Case(alert, "the first measurement has it already", {newest: f"_x104 {EVENT}x60"}, 110),
        Case(alert, "it happened after others", {newest: f"5x104 {EVENT}x90"}, 110),
        Case(alert, "it is an hour old", {newest: f"5x104 {EVENT}x90"}, 165, None),
        Case(alert, "it never happened", {newest: "0x200"}, 110, None),
        Case(alert, "nothing is measured", {}, 110, None),
        Case(alert, "another kind", {newest.replace(kind, "other"): f"{EVENT}x200"}, 110, None),
        Case(
            alert,
            "it happened to another recommender only",
            {newest: "5x200", f'{newest[:-1]},recommender="books"}}': f"5x104 {EVENT}x90"},
            110,
            {"recommender": "books"},
        ),
        Case(
            alert,
            "the exporter was replaced long after it",
            {
                newest[:-1] + ',pod="a"}': f"{EVENT}x170 stale",
                newest[:-1] + ',pod="b"}': f"_x180 {EVENT}x100",
            },
            200,
            None,
        ),
    ]


def heartbeat(component: str, alert: str) -> list[Case]:
    series = f"airflow_{component}_heartbeat_total"
    return [
        Case(alert, "it stopped", {series: "0+12x30 360x30"}, 45),
        Case(alert, "it and the exporter are gone", {series: "0+12x30 stale"}, 45),
        Case(alert, "it never started", {}, 10),
        Case(alert, "it works", {series: "0+12x60"}, 45, None),
        Case(alert, "the exporter was restarted", {series: "0+12x30 0+12x30"}, 35, None),
        Case(alert, "it was restarted", {series: "0+12x30 360x2 372+12x30"}, 34, None),
    ]


def full(alert: str, free: str, waiting: str, label: str) -> list[Case]:
    name = label.partition("=")[0]
    fires = {name: label.partition('"')[2].rstrip('"')}
    free, waiting = f"{free}{{{label}}}", f"{waiting}{{{label}}}"
    return [
        Case(alert, "no slot, tasks wait", {free: "0x60", waiting: "2x60"}, 45, fires),
        Case(alert, "no slot, nothing waits", {free: "0x60", waiting: "0x60"}, 45, None),
        Case(alert, "a slot is free", {free: "1x60", waiting: "2x60"}, 45, None),
        Case(alert, "only for a while", {free: "0x20 1x40", waiting: "2x60"}, 45, None),
        Case(alert, "it was removed", {free: "0x20 stale", waiting: "2x20 stale"}, 45, None),
        Case(
            alert,
            "another one is full",
            {free: "3x60", waiting: "2x60", free.replace('"', '"other_', 1): "0x60"},
            45,
            None,
        ),
    ]


def above(
    alert: str, series: str, high: str, low: str, minute: int, fires: Labels | None = None
) -> list[Case]:
    """Cases of a gauge that must not stay above a limit."""
    return [
        Case(alert, "too high", {series: f"{high}x300"}, minute, fires or {}),
        Case(alert, "high for a moment", {series: f"{low}x{minute - 2} {high}x300"}, minute, None)
        if minute > 2
        else Case(alert, "gone", {series: f"{high}x1 stale"}, minute + 10, None),
        Case(alert, "low", {series: f"{low}x300"}, minute, None),
        Case(alert, "not measured", {}, minute, None),
    ]


def slow(alert: str, name: str, le: str, labels: str, fires: Labels) -> list[Case]:
    """Cases of a histogram in which no event may be slow; the window is an hour."""
    count, bucket = f"{name}_count{{{labels}}}", f'{name}_bucket{{{labels},le="{le}"}}'
    bucket = bucket.replace("{,", "{")
    return [
        Case(
            alert, "the very first is slow", {count: "_x10 1x200", bucket: "_x10 0x200"}, 30, fires
        ),
        Case(alert, "a later one is slow", {count: "1x90 2x90", bucket: "1x180"}, 100, fires),
        Case(
            alert,
            "the first after a restart of the exporter is slow",
            {count: "3x90 _x5 1x90", bucket: "2x90 _x5 0x90"},
            100,
            fires,
        ),
        Case(
            alert,
            "the first after a restart two hours ago is slow",
            {count: "3x90 _x120 1x90", bucket: "2x90 _x120 0x90"},
            220,
            fires,
        ),
        Case(alert, "the first is fast", {count: "_x10 1x200", bucket: "_x10 1x200"}, 30, None),
        Case(
            alert,
            "a fast one after a slow one",
            {count: "1x90 2x90", bucket: "0x90 1x90"},
            100,
            None,
        ),
        Case(alert, "many fast ones", {count: "5+1x200", bucket: "2+1x200"}, 100, None),
        Case(alert, "it was hours ago", {count: "_x10 1x300", bucket: "_x10 0x300"}, 200, None),
        Case(
            alert,
            "it was before a restart of the exporter",
            {count: "3x90 _x5 1x90", bucket: "2x90 _x5 1x90"},
            100,
            None,
        ),
        Case(alert, "none", {}, 100, None),
    ]


MEASURED, SUCCESS = "recsys_measured_timestamp_seconds", "recsys_last_success_timestamp_seconds"
SITE = 'up{job="site",instance="site:8000"}'
REQUESTS = 'recsys_site_requests_total{route="/api/x",method="GET",status="%s"}'
SECONDS = 'recsys_site_request_seconds_bucket{route="%s",le="%s"}'
BOOKS = '{recommender="books"}'
CHAMPION = "recsys_champion_promoted_timestamp_seconds"
SERVED = 'recsys_site_release_promoted_timestamp_seconds{instance="%s"}'
UP, BLOCKED = 'pg_up{job="metadata-db"}', "airflow_triggers_blocked_main_thread_total"
BACKENDS = 'pg_stat_activity_count{job="metadata-db",datname="airflow",state="%s"}'
MOST = 'pg_settings_max_connections{job="metadata-db"}'

CASES = [
    *events("run_failed", "RunFailed"),
    *events("run_late", "RunLate"),
    *events("recovered", "Recovered"),
    *[
        Case("Stale", title, series, minute, fires, step=60)
        for title, series, minute, fires in (
            ("the last success is old", {SUCCESS: "60x384"}, 16 * DAY, {}),
            ("never a success", {MEASURED: "0+3600x384"}, 16 * DAY, {}),
            ("the success of another recommender is recent",
             {SUCCESS: "864000x384", SUCCESS + BOOKS: "60x384"}, 16 * DAY,
             {"recommender": "books"}),
            ("another recommender never had a success",
             {MEASURED: "0+3600x384", SUCCESS: "864000x384", MEASURED + BOOKS: "0+3600x384"},
             16 * DAY, {"recommender": "books"}),
            ("the last success is recent", {MEASURED: "0+3600x384", SUCCESS: "864000x384"},
             16 * DAY, None),
            ("no success yet", {MEASURED: "0+3600x384"}, 14 * DAY, None),
            ("the exporter was restarted a moment ago",
             {MEASURED: "0+3600x384", SUCCESS: "864000x383 stale"}, 16 * DAY, None),
        )
    ],
    *above("JournalOpen", "recsys_journal_age_seconds", "1000", "100", 1),
    *slow("SlowSwitch", STALL, "5", "", {}),
    Case(
        "AlertsUntold", "for long", {'recsys_alerts_untold{channel="slack"}': "2x60"}, 40,
        {"channel": "slack"},
    ),
    Case(
        "AlertsUntold", "for a while", {'recsys_alerts_untold{channel="slack"}': "2x10 0x60"}, 40,
        None,
    ),
    Case("PipelineSilent", "it stopped", {MEASURED: "0+60x30 1800x90"}, 80),
    Case("PipelineSilent", "the exporter disappeared", {MEASURED: "0+60x30 stale"}, 50),
    Case("PipelineSilent", "nothing was ever measured", {}, 20),
    Case("PipelineSilent", "every five minutes", {MEASURED: "0x4 300x4 600x4 900x4 1200x4"}, 20,
         None),
    Case(
        "PipelineSilent", "the exporter was replaced",
        {MEASURED + '{pod="a"}': "0+60x30 1800x60", MEASURED + '{pod="b"}': "_x30 1800+60x60"},
        80, None,
    ),
    *heartbeat("scheduler", "SchedulerDown"),
    *heartbeat("dag_processor", "DagProcessorDown"),
    *heartbeat("triggerer", "TriggererDown"),
    Case("SchedulerSlow", "slow", {f"{LOOP}_sum": "0+60x60", f"{LOOP}_count": "0+6x60"}, 45),
    Case("SchedulerSlow", "fast", {f"{LOOP}_sum": "0+6x60", f"{LOOP}_count": "0+60x60"}, 45, None),
    Case("SchedulerSlow", "it stands", {f"{LOOP}_sum": "60x60", f"{LOOP}_count": "6x60"}, 45, None),
    *above("TasksStarving", "airflow_scheduler_tasks_starving", "3", "0", 40),
    *full("PoolFull", "airflow_pool_open_slots", "airflow_pool_scheduled_slots",
          'pool_name="default_pool"'),
    Case(
        "PoolFull", "a pool without a limit",
        {'airflow_pool_open_slots{pool_name="p"}': " ".join(["Inf"] * 60),
         'airflow_pool_scheduled_slots{pool_name="p"}': "9x60"}, 45, None,
    ),
    *full("ExecutorFull", "airflow_executor_open_slots", "airflow_executor_queued_tasks",
          'executor_class_name="LocalExecutor"'),
    *slow("TasksStartLate", QUEUED, "900", TASK, LATE_TASK),
    *slow("TasksStartLate", SCHEDULED, "900", TASK, LATE_TASK),
    Case("TriggersBlocked", "often", {BLOCKED: "0+1x60"}, 40),
    Case("TriggersBlocked", "often from the start", {BLOCKED: "_x10 8x60"}, 20),
    Case("TriggersBlocked", "a few times", {BLOCKED: "_x10 1x60"}, 20, None),
    Case("TriggersBlocked", "long ago", {BLOCKED: "_x10 8x90"}, 60, None),
    *above("TriggererFull", 'airflow_triggerer_capacity_left{hostname="a"}', "0", "900", 20),
    Case(
        "TriggererFull", "another triggerer has capacity",
        {'airflow_triggerer_capacity_left{hostname="a"}': "0x60",
         'airflow_triggerer_capacity_left{hostname="b"}': "5x60"}, 20, None,
    ),
    *above("DagsSlowToParse", "airflow_dag_processing_parse_seconds", "90", "8", 20),
    *above("DagsBroken", "airflow_dag_processing_import_errors", "1", "0", 10),
    Case("MetadataDatabaseDown", "it is down", {UP: "1x10 0x30"}, 20),
    Case("MetadataDatabaseDown", "its exporter disappeared", {UP: "1x10 stale"}, 20,
         {"job": "metadata-db"}),
    Case("MetadataDatabaseDown", "it is up", {UP: "1x30"}, 20, None),
    Case("MetadataDatabaseDown", "it was restarted", {UP: "1x10 0x2 1x30"}, 13, None),
    Case(
        "MetadataConnectionsHigh", "nearly all are in use",
        {BACKENDS % "active": "50x60", BACKENDS % "idle": "40x60", MOST: "100x60"}, 20,
    ),
    Case(
        "MetadataConnectionsHigh", "few are in use",
        {BACKENDS % "active": "10x60", BACKENDS % "idle": "40x60", MOST: "100x60"}, 20, None,
    ),
    *above(
        "MetadataTransactionOld",
        'pg_stat_activity_max_tx_duration{job="metadata-db",datname="airflow",state="active"}',
        "4000", "3", 20,
    ),
    *above(
        "MetadataDatabaseLarge", 'pg_database_size_bytes{job="metadata-db",datname="airflow"}',
        "3e10", "1e9", 90,
    ),
    Case("SiteDown", "it does not respond", {SITE: "1x10 0x20"}, 20,
         {"job": "site", "instance": "site:8000"}),
    Case("SiteDown", "its target disappeared", {SITE: "1x10 stale"}, 20, {"job": "site"}),
    Case("SiteDown", "there never was a target", {}, 20, {"job": "site"}),
    Case("SiteDown", "it responds", {SITE: "1x30"}, 20, None),
    Case("SiteDown", "one scrape failed", {SITE: "1x18 0 1x10"}, 20, None),
    *above("SiteDegraded", "recsys_site_degraded", "1", "0", 10),
    Case("SiteErrors", "half of the responses",
         {REQUESTS % 200: "0+60x60", REQUESTS % 503: "_x10 1+60x60"}, 30),
    Case("SiteErrors", "all responses from the first", {REQUESTS % 500: "_x10 1+60x60"}, 30),
    Case("SiteErrors", "one of many",
         {REQUESTS % 200: "0+600x60", REQUESTS % 503: "_x10 1x60"}, 30, None),
    Case("SiteErrors", "no traffic", {REQUESTS % 200: "5x60", REQUESTS % 503: "2x60"}, 30, None),
    Case("SiteSlow", "a tenth is slow",
         {SECONDS % ("/api/x", le): f"0+{n}x60"
          for le, n in (("0.5", 90), ("1", 100), ("+Inf", 100))}, 30),
    Case("SiteSlow", "pages are slow, the API is not",
         {**{SECONDS % ("/api/x", le): "0+100x60" for le in ("0.5", "1", "+Inf")},
          **{SECONDS % ("/", le): f"0+{n}x60"
             for le, n in (("0.5", 0), ("1", 100), ("+Inf", 100))}}, 30, None),
    Case("SiteSlow", "no traffic", {SECONDS % ("/api/x", le): "9x60" for le in ("0.5", "+Inf")},
         30, None),
    Case("SiteBehind", "one replica serves an older release",
         {CHAMPION: "500x60", SERVED % "a": "500x60", SERVED % "b": "400x60"}, 30),
    Case("SiteBehind", "it has no release", {CHAMPION: "500x60", SERVED % "a": "0x60"}, 30),
    Case("SiteBehind", "it serves the champion", {CHAMPION: "500x60", SERVED % "a": "500x60"}, 30,
         None),
    Case("SiteBehind", "another recommender was promoted since",
         {CHAMPION: "500x60", SERVED % "a": "500x60", CHAMPION + BOOKS: "900x60"}, 30, None),
    Case("SiteBehind", "the site of another recommender is behind",
         {CHAMPION: "500x60", SERVED % "a": "500x60", CHAMPION + BOOKS: "900x60",
          (SERVED % "b")[:-1] + ',recommender="books"}': "800x60"}, 30, {"recommender": "books"}),
    Case("SiteBehind", "it changes over in a minute",
         {CHAMPION: "400x10 500x60", SERVED % "a": "400x11 500x60"}, 30, None),
    Case("SiteBehind", "there is no champion", {SERVED % "a": "0x60"}, 30, None),
]  # fmt: skip
RULES = Path(__file__).resolve().parents[3] / "docker/monitoring/rules/recsys.yaml"


@pytest.fixture(scope="session")
def rules() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@pytest.fixture(scope="session")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed: it comes with Debian's package prometheus")
    return found


def unit_test(case: Case, rule: Mapping[str, Any]) -> dict[str, Any]:
    """The case in the format of ``promtool test rules``."""
    expected = []
    if case.fires is not None:
        of = case.fires.get("recommender")
        summary = re.sub(
            r"{{ \$labels\.(\w+) }}",
            lambda found: (case.fires or {})[found[1]],
            rule["annotations"]["summary"].replace(OF_ANOTHER, f" ({of})" if of else ""),
        )
        expected = [
            {
                "exp_labels": {**rule["labels"], **case.fires},
                "exp_annotations": {**rule["annotations"], "summary": summary},
            }
        ]
    check = {"eval_time": f"{case.minute}m", "alertname": case.alert, "exp_alerts": expected}
    return {
        "interval": f"{case.step}m",
        "input_series": [{"series": n, "values": v} for n, v in case.series.items()],
        "alert_rule_test": [check],
    }


@pytest.mark.parametrize("alert", sorted({case.alert for case in CASES}))
def test_a_rule_fires_when_it_must_and_is_silent_otherwise(
    alert: str, rules: dict[str, dict[str, Any]], promtool: str, tmp_path: Path
) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [rules[alert]]}]}))
    cases = [case for case in CASES if case.alert == alert]
    tests = []
    for number, case in enumerate(cases):
        tests.append(tmp_path / f"test-{number}.yaml")
        document = {
            "rule_files": [str(file)],
            "evaluation_interval": f"{case.step}m",
            "tests": [unit_test(case, rules[alert])],
        }
        tests[-1].write_text(yaml.safe_dump(document))
    command = [promtool, "test", "rules", *map(str, tests)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    parts = re.split(r"^Unit Testing: +.*/test-(\d+)\.yaml$", done.stdout, flags=re.M)
    results = dict(zip(map(int, parts[1::2]), parts[2::2], strict=True))
    wrong = [
        (case.title, results.get(number, done.stderr).strip())
        for number, case in enumerate(cases)
        if "SUCCESS" not in results.get(number, "")
    ]
    assert wrong == []
    assert done.returncode == 0, done.stderr


def test_every_rule_is_tested_for_firing_and_for_silence(
    rules: dict[str, dict[str, Any]],
) -> None:
    assert {case.alert for case in CASES if case.fires is not None} == set(rules)
    assert {case.alert for case in CASES if case.fires is None} == set(rules)
