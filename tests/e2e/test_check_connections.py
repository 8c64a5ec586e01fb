"""The DAG that uses each Connection, and the command that does the same without a scheduler."""

from __future__ import annotations

import json

import pytest

from recsys.services import Services
from tests.e2e.conftest import Pipeline


@pytest.fixture
def dag():
    from recsys_dag.recsys_check_connections import dag

    return dag


def test_connections_that_work(pipeline: Pipeline, dag, small_dataset, monkeypatch):
    monkeypatch.setenv("RECSYS_SOURCE", str(small_dataset))
    outcome = pipeline.run_dag(dag, {})
    assert outcome.state == "success", outcome.errors
    assert pipeline.services.store.keys("") == []


def test_each_connection_that_does_not_work_is_named(pipeline, dag, small_dataset, monkeypatch):
    from recsys_dag import connection_checks

    monkeypatch.setenv("RECSYS_SOURCE", str(small_dataset))
    monkeypatch.delenv("AIRFLOW_CONN_RECSYS_S3")
    monkeypatch.setenv("AIRFLOW_CONN_RECSYS_PG_VECTOR_BACKEND", "postgres://u:hush@127.0.0.1:1/x")
    assert pipeline.run_dag(dag, {}).state == "failed"
    checks = {each.name: each for each in connection_checks.checks_of_command_line()}
    failed = {name: check for name, check in checks.items() if not check.works}
    assert set(failed) == {"recsys_s3", "recsys_pg_vector_backend"}
    assert "does not exist" in str(failed["recsys_s3"])
    assert failed["recsys_pg_vector_backend"].tried[-1] == "connect"
    assert "PostgreSQL does not answer" in str(failed["recsys_pg_vector_backend"])
    assert "hush" not in "".join(map(str, checks.values()))
    assert "md5 " in checks["recsys_source"].found


def test_the_trainers_account_is_checked_if_it_has_a_connection(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
):
    from recsys_dag import connection_checks

    assert "recsys_trainer_s3" not in connection_checks.connection_names()
    services: Services = pipeline.services
    lost = {"conn_type": "aws", "login": "nobody", "password": "hush"}
    lost |= {"extra": {"endpoint_url": services.s3.endpoint, "bucket_name": services.s3.bucket}}
    monkeypatch.setenv("AIRFLOW_CONN_RECSYS_TRAINER_S3", json.dumps(lost))
    assert "recsys_trainer_s3" in connection_checks.connection_names()
    checked = connection_checks.check("recsys_trainer_s3")
    assert not checked.works
    assert "hush" not in str(checked)
