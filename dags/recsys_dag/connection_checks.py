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
from recsys_dag import connections, settings
from recsys_dag.connections import PG_CONN_ID, S3_CONN_ID, TRAINER_S3_CONN_ID, find_connection
from recsys_dag.masking import SOURCE_CONN_ID, hide_source_secrets

Read = TypeVar("Read")

ALERTS: Final = "recsys_alert_*"


def connection_names() -> list[str]:
    """Returns the ids of the Connections to check; the trainer's account only if it has one."""
    trainer = [TRAINER_S3_CONN_ID] if find_connection(TRAINER_S3_CONN_ID) else []
    return [S3_CONN_ID, *trainer, PG_CONN_ID, SOURCE_CONN_ID, ALERTS]


def check(name: str) -> ConnectionCheck:
    """Checks one of `connection_names`."""
    probes = {
        S3_CONN_ID: bucket_probe(_existing(S3_CONN_ID, connections.s3_settings)),
        TRAINER_S3_CONN_ID: trainer_probe(
            _existing(TRAINER_S3_CONN_ID, partial(connections.s3_settings, TRAINER_S3_CONN_ID))
        ),
        PG_CONN_ID: database_probe(_existing(PG_CONN_ID, connections.postgres_settings)),
        SOURCE_CONN_ID: _read_source,
        ALERTS: _read_alerts,
    }
    return check_connection(name, probes[name])


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


def _read_source(attempt: Attempt) -> str:
    """Reads the md5 of the dataset, with the credentials of the Connection if it exists."""
    from recsys.dataset import needs_s3, read_source_md5, redact_sources
    from recsys_dag.source_connection import fetch_settings

    attempt.step("read the connection")
    source = settings.default_source()
    hide_source_secrets(source)
    attempt.address = redact_sources(source)
    fetch = fetch_settings(source)
    s3 = connections.s3_settings() if needs_s3(source) else None
    attempt.step("read the md5 of the dataset")
    return f"md5 {read_source_md5(source, s3, fetch)}"


def _read_alerts(attempt: Attempt) -> str:
    """Reads the settings of all channels; sends nothing."""
    attempt.step("read the connections")
    found = settings.alert_settings()
    named = {"slack": found.slack_url, "webhook": found.webhook_url, "e-mail": found.smtp_url}
    channels = ", ".join(name for name, value in named.items() if value) or "none"
    return f"channels: {channels}; nothing was sent, `recsys alerts --test` sends a test"
