"""The inventory of Airflow: what its database and its environment have, without any secret."""

from __future__ import annotations

import json

import pytest

SECRET = "s3cret-of-this-test"  # noqa: S105


def test_what_airflow_has_without_secrets(airflow_db, monkeypatch: pytest.MonkeyPatch):
    from airflow.models.connection import Connection
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session

    from recsys_dag.inventory import inventory_of_command_line

    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    stored = Connection(
        conn_id="moved",
        conn_type="http",
        host=f"https://ann:{SECRET}@hooks.example.org/{SECRET}",
        password=SECRET,
        extra=json.dumps({"token": SECRET}),
    )
    variable = Variable(key="moved_variable", val=SECRET)
    with create_session() as session:
        session.add_all([stored, variable])
    monkeypatch.setenv("AIRFLOW_CONN_RECSYS_URI", f"postgres://ann:{SECRET}@db.example.org:5433/x")
    monkeypatch.setenv("AIRFLOW_CONN_RECSYS_BROKEN", '{"conn_type": "aws", "password": "' + SECRET)
    monkeypatch.setenv("AIRFLOW_VAR_OF_THE_ENVIRONMENT", SECRET)
    try:
        found = inventory_of_command_line()
    finally:
        with create_session() as session:
            session.delete(session.merge(stored))
            session.delete(session.merge(variable))
    assert SECRET not in json.dumps(found, default=str)
    listed = {each["conn_id"]: each for each in found["connections"]}
    assert listed["moved"] == {
        "conn_id": "moved",
        "conn_type": "http",
        "host": "hooks.example.org",
        "port": None,
        "extra_fields": ["token"],
        "where": "metadata database",
    }
    assert (listed["recsys_uri"]["host"], listed["recsys_uri"]["port"]) == ("db.example.org", 5433)
    assert listed["recsys_uri"]["where"] == "environment"
    assert listed["recsys_broken"]["conn_type"] == "invalid"
    keys = {each["key"]: each["where"] for each in found["variables"]}
    assert keys["moved_variable"] == "metadata database"
    assert keys["of_the_environment"] == "environment"
    assert {"name": "default_pool", "slots": 128} in found["pools"]


def test_a_dag_has_its_last_run(airflow_db, pipeline, small_dataset):
    from recsys_dag.inventory import inventory_of_command_line
    from recsys_dag.recommenders import DAGS

    dag = DAGS["movie_rec_sys_recover"]

    outcome = pipeline.run_dag(dag, {})
    assert outcome.state == "success", outcome.errors
    dags = {each["dag_id"]: each for each in inventory_of_command_line()["dags"]}
    assert dags["movie_rec_sys_recover"]["last_state"] == "success"
    assert dags["movie_rec_sys_recover"]["last_run"] is not None
