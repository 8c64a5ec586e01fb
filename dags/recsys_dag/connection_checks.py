"""Checks of Airflow's Connections that the pipeline uses, by their ids.

The signing key is not among them: no process but the task that signs may read it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from typing import Final, TypeVar

from recsys.errors import ConfigurationError
from recsys.monitoring import (
    Attempt,
    ConnectionCheck,
    bucket_probe,
    check_connection,
    database_probe,
    trainer_probe,
)
from recsys.recommenders import Description
from recsys_dag import connections, descriptions, settings
from recsys_dag.connections import find_connection
from recsys_dag.masking import hide_source_secrets

Read = TypeVar("Read")
Probe = Callable[[Attempt], str]

ALERTS: Final = "recsys_alert_*"


def connection_names() -> list[str]:
    """Returns the names of the checks; the trainer's account only if it has a Connection.

    A name is the id of a Connection. The Connections of all recommenders but the first are checked
    for the database and the source of each: "recsys_source of books".
    """
    return list(_probes())


def check(name: str) -> ConnectionCheck:
    """Checks one of `connection_names`."""
    return check_connection(name, _probes()[name])


def _probes() -> dict[str, Probe]:
    probes: dict[str, Probe] = {}
    for recommender in sorted(
        descriptions.read().valid.values(), key=lambda one: not one.namespace.is_first
    ):
        probes |= _probes_of(recommender)
    return probes


def _probes_of(recommender: Description) -> dict[str, Probe]:
    ids = recommender.connections
    of = "" if recommender.namespace.is_first else f" of {recommender.name}"
    probes: dict[str, Probe] = {
        f"{ids.s3}{of}": bucket_probe(
            _existing(ids.s3, partial(connections.s3_of_recommender, recommender))
        )
    }
    if find_connection(ids.trainer_s3):
        probes[f"{ids.trainer_s3}{of}"] = trainer_probe(
            partial(connections.trainer_s3_settings, recommender)
        )
    probes[f"{ids.postgres}{of}"] = database_probe(
        _existing(ids.postgres, partial(connections.postgres_of_recommender, recommender))
    )
    probes[f"{ids.source}{of}"] = partial(_read_source, recommender)
    probes[f"{ALERTS}{of}"] = partial(_read_alerts, recommender)
    return probes


def checks_of_command_line() -> list[ConnectionCheck]:
    """Checks all, for the command ``recsys doctor --connections`` in a container of Airflow."""
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    # Airflow's libraries log to standard output, which is for the command's result.
    with redirect_stdout(sys.stderr):
        return [check(name) for name in connection_names()]


def _existing(conn_id: str, read: Callable[[], Read]) -> Callable[[], Read]:
    def read_existing() -> Read:
        if find_connection(conn_id) is None:
            raise ConfigurationError(
                f"the Airflow Connection {conn_id} does not exist",
                hint="make it in Airflow's UI, under Admin, Connections; docs/deployment.md lists "
                "its fields",
            )
        return read()

    return read_existing


def _read_source(recommender: Description, attempt: Attempt) -> str:
    """Reads the md5 of the dataset, with the credentials of the Connection if it exists."""
    from recsys.dataset import needs_s3, read_source_md5, redact_sources
    from recsys_dag.source_connection import fetch_settings

    attempt.step("read the connection")
    source = settings.default_source(recommender)
    hide_source_secrets(source, recommender.connections.source)
    attempt.address = redact_sources(source)
    fetch = fetch_settings(source, recommender.connections.source)
    s3 = connections.s3_of_recommender(recommender) if needs_s3(source) else None
    attempt.step("read the md5 of the dataset")
    return f"md5 {read_source_md5(source, s3, fetch)}"


def _read_alerts(recommender: Description, attempt: Attempt) -> str:
    """Reads the settings of all channels; sends nothing."""
    attempt.step("read the connections")
    found = settings.alerts_of(recommender)
    named = {"slack": found.slack_url, "webhook": found.webhook_url, "e-mail": found.smtp_url}
    channels = ", ".join(name for name, value in named.items() if value) or "none"
    return f"channels: {channels}; nothing was sent, `recsys alerts --test` sends a test"
