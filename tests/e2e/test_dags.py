"""The DAG files: they parse fast and clean, and are wired as the design says."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta

import pytest

from tests.descriptions import MOVIES

DAG_IDS = {
    "movie_rec_sys",
    "movie_rec_sys_erase",
    "movie_rec_sys_recover",
    "movie_rec_sys_rollback",
    "movie_rec_sys_tune",
    "recsys_check_connections",
}


@pytest.fixture(scope="module")
def dags(airflow_db, repository):
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(repository / "dags")
    assert bag.import_errors == {}
    return bag.dags


def test_all_dags_parse_and_nothing_else_in_the_folder_does(dags):
    assert set(dags) == DAG_IDS


def test_the_failure_of_each_dag_is_reported(dags):
    for dag_id, dag in dags.items():
        assert dag.on_failure_callback.__name__ == "alert_run_failed", dag_id


def test_airflow_parses_only_the_files_that_define_dags(airflow_db, repository):
    from airflow.utils.file import list_py_file_paths

    parsed = {os.path.basename(path) for path in list_py_file_paths(repository / "dags")}
    assert parsed == {"recommenders.py", "invalid_descriptions.py", "recsys_check_connections.py"}


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_a_dag_survives_serialization(dags, dag_id):
    from airflow.serialization.serialized_objects import DagSerialization

    restored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dags[dag_id]))
    assert set(restored.task_ids) == set(dags[dag_id].task_ids)


def test_the_weekly_dag_is_wired_as_drawn(dags):
    edges = {task.task_id: sorted(task.downstream_task_ids) for task in dags["movie_rec_sys"].tasks}
    assert edges == {
        "recover_promotion": ["data_is_new"],
        "data_is_new": ["do_nothing", "fetch_dataset"],
        "do_nothing": [],
        "fetch_dataset": ["generate_data_frames"],
        "generate_data_frames": ["enable_vector_extension", "forward_test", "train_dl_model"],
        "forward_test": [],
        "enable_vector_extension": ["load_movie_vectors"],
        "load_movie_vectors": ["check_vectors"],
        "check_vectors": ["join_no_op"],
        "train_dl_model": ["verify_candidate"],
        "verify_candidate": ["load_towers"],
        "load_towers": ["join_no_op"],
        "join_no_op": ["gate_candidate"],
        "gate_candidate": [
            "approve_release",
            "promote_release",
            "reject_candidate",
            "write_report",
        ],
        "write_report": [],
        "approve_release": ["promote_release", "reject_candidate"],
        "promote_release": ["update_internal_hash"],
        "update_internal_hash": ["retire_old_releases"],
        "retire_old_releases": [],
        "reject_candidate": [],
    }


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_every_dag_says_who_owns_it_and_what_it_does(dags, dag_id):
    dag = dags[dag_id]
    assert dag.owner == "recsys"
    assert dag.doc_md
    assert dag.description
    assert "recsys" in dag.tags
    assert dag.max_active_runs == 1
    assert not dag.catchup


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_every_task_ends_and_gives_up(dags, dag_id):
    for task in dags[dag_id].tasks:
        limit = getattr(task, "response_timeout", None) or task.execution_timeout
        assert limit is not None, task.task_id
        assert limit <= timedelta(days=3)
        # The zip of a dataset may be uploaded hours after its md5.
        assert 1 <= task.retries <= (24 if task.task_id == "fetch_dataset" else 3)
        assert task.retry_exponential_backoff


def test_the_weekly_dag_listens_to_the_week_and_to_the_md5(dags):
    dag = dags["movie_rec_sys"]
    assert dag.timetable.timetable.expression == "0 4 * * 1"
    [watcher] = dag.timetable.asset_condition.watchers
    assert type(watcher.trigger).__name__ == "DatasetMd5Trigger"


@pytest.mark.parametrize(
    "dag_file", ["recommenders", "invalid_descriptions", "recsys_check_connections"]
)
def test_importing_a_dag_warns_of_nothing_and_pulls_in_nothing_heavy(dag_file):
    """Every task process imports its DAG file, so what it imports is paid for every time."""
    heavy = ["polars", "numpy", "psycopg", "boto3", "sklearn", "keras", "tensorflow"]
    code = (
        f"import sys, recsys_dag.{dag_file}\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    environment = {**os.environ, "RECSYS_RETRY_DELAY_S": "30"}
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_params_are_checked_before_a_run_starts(dags):
    from airflow.sdk.exceptions import ParamValidationError

    params = dags["movie_rec_sys"].params
    for name, wrong in (
        ("source", ""),
        ("force", "yes"),
        ("gate_min_coverage", 2),
        ("gate_max_rmse_rise", -1),
    ):
        with pytest.raises(ParamValidationError):
            params.get_param(name).resolve(value=wrong)
    release = dags["movie_rec_sys_rollback"].params.get_param("release")
    with pytest.raises(ParamValidationError):
        release.resolve(value="'; drop table releases; --")


@pytest.mark.parametrize("reason", [None, "", "x"])
def test_a_rollback_is_not_triggered_without_a_reason(dags, reason):
    from airflow.sdk.exceptions import ParamValidationError

    params = dags["movie_rec_sys_rollback"].params
    assert params.get_param("release").resolve() is None
    with pytest.raises(ParamValidationError):
        params.get_param("reason").resolve(value=reason)


def test_tasks_of_the_weekly_dag_hold_no_copies_of_its_params(dags):
    """Airflow would validate each copy whenever it parses or serializes the DAG."""
    weekly = dags["movie_rec_sys"]
    assert {"source", "force", "require_approval"} <= set(weekly.params)
    # The form of an approval has a field of its own.
    assert {task.task_id: list(task.params) for task in weekly.tasks if task.params} == {
        "approve_release": ["reason"]
    }


def test_the_trigger_form_shows_four_fields_and_requires_only_the_dataset(dags):
    """Airflow's form requires a Param unless its type includes null, and opens no section."""
    weekly = dags["movie_rec_sys"].params
    shown = {name: weekly.get_param(name).serialize()["schema"] for name in weekly}
    assert [name for name, schema in shown.items() if "section" not in schema] == [
        "source",
        "force",
        "accept_drift",
        "require_approval",
    ]
    assert [name for name, schema in shown.items() if "null" not in schema["type"]] == ["source"]
    assert len({schema["title"] for schema in shown.values()}) == len(shown)
    assert {schema["section"] for name, schema in shown.items() if name.startswith("gate_")} == {
        "Limits of the gate for this run"
    }


def test_every_limit_of_the_gate_is_a_param_and_an_empty_one_is_the_default(dags):
    from recsys.gate import GateSettings
    from recsys_dag.settings import gate_settings

    weekly = dags["movie_rec_sys"].params
    limits = {name: weekly.get_param(name) for name in weekly if name.startswith("gate_")}
    assert {name.removeprefix("gate_") for name in limits} == set(GateSettings.model_fields)
    defaults = {name: limit.resolve() for name, limit in limits.items()}
    assert gate_settings(MOVIES, defaults) == GateSettings()
    assert gate_settings(MOVIES, dict.fromkeys(limits)) == GateSettings()
    assert gate_settings(MOVIES, {}) == GateSettings()
    changed = gate_settings(MOVIES, {**dict.fromkeys(limits), "gate_max_ndcg": 0})
    assert changed == GateSettings(max_ndcg=0)
    for limit in limits.values():
        assert limit.resolve(value=None) is None
