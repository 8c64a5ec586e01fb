"""Connections to PostgreSQL, the database of the ledger and the vectors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys.errors import ServiceUnavailableError

Connection = psycopg.Connection[Any]
_LOCK_TIMEOUT: Final = "30s"


class PostgresSettings(BaseSettings):
    """Address and credentials of the database: ``RECSYS_PG_DSN``, a libpq URI or string."""

    # Compose and Kubernetes pass unset variables as empty strings. A rejected value may be secret.
    model_config = SettingsConfigDict(
        env_prefix="RECSYS_PG_", env_ignore_empty=True, hide_input_in_errors=True
    )

    dsn: SecretStr
    connect_timeout: int = Field(default=10, gt=0, description="seconds")


@contextmanager
def connect(settings: PostgresSettings) -> Iterator[Connection]:
    """Opens a connection in autocommit mode; use ``conn.transaction()`` for several statements.

    Raises:
        ServiceUnavailableError: PostgreSQL does not answer, or the connection broke.
    """
    try:
        conn = psycopg.connect(
            settings.dsn.get_secret_value(),
            autocommit=True,
            connect_timeout=settings.connect_timeout,
            application_name="recsys",
        )
    except psycopg.OperationalError as error:
        raise _unavailable(error) from error
    try:
        with conn:
            # Times in files, pages and names do not depend on the reader's time zone.
            conn.execute(
                "select set_config('lock_timeout', %s, false), "
                "set_config('TimeZone', 'UTC', false)",
                (_LOCK_TIMEOUT,),
            )
            yield conn
    # The second error also ends the session, but is not a subclass of the first.
    except (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout) as error:
        raise _unavailable(error) from error


def _unavailable(error: psycopg.Error) -> ServiceUnavailableError:
    return ServiceUnavailableError(
        "PostgreSQL does not answer",
        found=(str(error).strip().splitlines() or [type(error).__name__])[0],
        expected="an answer from the vector database",
        hint="start it, or correct the connection; `recsys doctor` shows which server is down",
    )
