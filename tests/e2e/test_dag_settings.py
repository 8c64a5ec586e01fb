"""What settings make of the DAG's tasks, each in a process of its own, as Airflow parses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FEATURES = {"forward_test", "generate_data_frames", "load_movie_vectors", "load_towers"}
PARSE = """
import json, os, sys
before = os.times()
from recsys_dag.recommenders import DAGS

dag = DAGS["movie_rec_sys"]
after = os.times()
def memory(task):
    override = (task.executor_config or {}).get("pod_override")
    return override.spec.containers[0].resources.limits["memory"] if override else None
print(json.dumps({
    "seconds": after.user + after.system - before.user - before.system,
    "modules": sorted({m.partition(".")[0] for m in sys.modules}
                      | {m for m in sys.modules if m.startswith("recsys_dag.")}),
    "tasks": {t.task_id: {"type": type(t).__name__, "pool": t.pool, "queue": t.queue,
                          "memory": memory(t)} for t in dag.tasks},
    "hours": [t.total_seconds() / 3600 for t in
              (dag.dagrun_timeout, dag.get_task("train_dl_model").execution_timeout,
               dag.get_task("verify_candidate").execution_timeout,
               dag.get_task("approve_release").response_timeout)],
    "pods": [getattr(dag.get_task(t), "active_deadline_seconds", None)
             for t in ("train_dl_model", "verify_candidate")],
    "after": {t.task_id: sorted(t.downstream_task_ids) for t in dag.tasks},
}))
"""


def parse(tmp_path: Path, **environment: str) -> dict[str, Any]:
    names = ("PATH", "HOME", "LANG")
    done = subprocess.run(
        [sys.executable, "-c", PARSE],
        capture_output=True,
        text=True,
        check=False,
        env={
            **{name: os.environ[name] for name in names if name in os.environ},
            "PYTHONPATH": str(ROOT / "dags"),
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            **environment,
        },
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_training_that_waits_long_for_a_machine_gets_the_time(tmp_path: Path) -> None:
    found = parse(
        tmp_path, RECSYS_TRAINING_TIMEOUT_HOURS="48", RECSYS_TRAINER_LAUNCHER="kubernetes"
    )
    startup, check, approval = 660 / 3600, 600 / 3600, 72
    assert found["hours"] == pytest.approx(
        [48 + check + startup + 6 + approval, 48, check + startup, approval]
    )
    assert found["pods"] == [48 * 3600 - 660, 600]


@pytest.mark.parametrize("launcher", ["docker", "kubernetes"])
def test_stars_are_predicted_before_the_forward_test_where_it_has_no_keras(
    tmp_path: Path, launcher: str
) -> None:
    found = parse(
        tmp_path, RECSYS_TRAINER_LAUNCHER=launcher, AIRFLOW_VAR_RECSYS_TRAINER_IMAGE="unused"
    )
    assert {"predict_newer_ratings", "forward_test"} < set(found["after"]["generate_data_frames"])
    assert found["after"]["predict_newer_ratings"] == ["forward_test"]
    pod = {"docker": "TrainerContainer", "kubernetes": "TrainerPod"}[launcher]
    assert found["tasks"]["predict_newer_ratings"]["type"] == pod
    assert "predict_newer_ratings" not in parse(tmp_path)["tasks"], "a local process predicts"


def test_limits_that_contradict_each_other_are_refused_when_the_file_is_parsed(
    tmp_path: Path,
) -> None:
    with pytest.raises(AssertionError, match="the training's task ends before its pod may"):
        parse(
            tmp_path,
            RECSYS_TRAINER_LAUNCHER="kubernetes",
            RECSYS_TRAINING_TIMEOUT_HOURS="8",
            RECSYS_TRAINER_POD_DEADLINE_S="43200",
        )


def test_a_local_trainer_needs_neither_kubernetes_nor_docker(tmp_path: Path) -> None:
    found = parse(tmp_path)
    print(f"parse of the weekly DAG, local trainer: {found['seconds']:.2f} s of CPU")
    assert found["hours"] == pytest.approx([8 + 1 / 6 + 6 + 72, 8, 1 / 6, 72])
    assert not {"kubernetes", "docker"} & set(found["modules"])
    assert not [m for m in found["modules"] if m.startswith("recsys_dag.trainer_pod")]
    assert found["tasks"]["train_dl_model"]["type"] == "_PythonDecoratedOperator"
    assert {task["pool"] for task in found["tasks"].values()} == {"default_pool"}
    assert {task["memory"] for task in found["tasks"].values()} == {None}


@pytest.mark.parametrize(
    ("settings", "train", "verify", "without"),
    [
        ({"LAUNCHER": "kubernetes"}, "TrainerPod", "TrainerPod", "docker"),
        ({"LAUNCHER": "kubernetes", "WORKERS": "2"}, "TrainerJob", "TrainerPod", "docker"),
        ({"LAUNCHER": "docker"}, "TrainerContainer", "TrainerContainer", "kubernetes"),
    ],
    ids=["pod", "job", "container"],
)
def test_one_setting_picks_who_starts_the_trainer(
    tmp_path: Path, settings: dict[str, str], train: str, verify: str, without: str
) -> None:
    named = {f"RECSYS_TRAINER_{name}": value for name, value in settings.items()}
    found = parse(tmp_path, **named)
    print(f"parse of the weekly DAG, {settings}: {found['seconds']:.2f} s of CPU")
    assert found["tasks"]["train_dl_model"]["type"] == train
    assert found["tasks"]["verify_candidate"]["type"] == verify
    assert without not in found["modules"]


def test_several_workers_without_kubernetes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="RECSYS_TRAINER_WORKERS needs Kubernetes"):
        parse(tmp_path, RECSYS_TRAINER_WORKERS="2")


def test_each_task_has_the_memory_it_needs_in_a_pod_of_its_own(tmp_path: Path) -> None:
    found = parse(
        tmp_path, AIRFLOW__CORE__EXECUTOR="KubernetesExecutor", RECSYS_MEMORY_FEATURES="6Gi"
    )["tasks"]
    for task_id, task in found.items():
        assert task["memory"] == ("6Gi" if task_id in FEATURES else "1Gi"), task_id


def test_a_tenants_pipeline_keeps_to_its_pool_and_queues(tmp_path: Path) -> None:
    found = parse(
        tmp_path,
        AIRFLOW__CORE__EXECUTOR="CeleryExecutor",
        RECSYS_POOL="tenant_a",
        RECSYS_QUEUE_LIGHT="small",
        RECSYS_QUEUE_FEATURES="large",
    )["tasks"]
    for task_id, task in found.items():
        assert task["pool"] == "tenant_a", task_id
        assert task["queue"] == ("large" if task_id in FEATURES else "small"), task_id
        assert task["memory"] is None, task_id


def test_memory_that_is_no_quantity_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="RECSYS_MEMORY_FEATURES is invalid"):
        parse(tmp_path, RECSYS_MEMORY_FEATURES="lots")
