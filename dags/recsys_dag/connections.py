"""PostgreSQL and S3 as Airflow's Connections define them, as the providers' hooks do.

tests/e2e/test_connections.py compares both with the hooks.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import Any, Final

from recsys import database
from recsys.contract import ENV_S3_BUCKET, ENV_S3_ENDPOINT, ENV_S3_REGION
from recsys.database import PostgresSettings
from recsys.errors import ConfigurationError
from recsys.object_store import S3Settings
from recsys.services import Services

S3_CONN_ID: Final = "recsys_s3"
PG_CONN_ID: Final = "recsys_pg_vector_backend"
_IAM: Final = "iam"
_OF_THE_CLIENT: Final = {"autocommit", "context", "cursor_factory", "prepare_threshold"}
"""Extra fields that say how psycopg uses a session, not where it connects; ours are fixed."""


class _TokenServices(Services):
    """Services whose database takes a token in place of a password: it expires within minutes."""

    def connect(self) -> AbstractContextManager[database.Connection]:
        return database.connect(postgres_settings())


def services() -> Services:
    """Returns PostgreSQL and S3 as the Connections define them.

    Raises:
        ConfigurationError: a Connection is invalid or names no bucket.
    """
    from airflow.sdk import Connection

    expires = Connection.get(PG_CONN_ID).extra_dejson.get(_IAM)
    made = _TokenServices if expires else Services
    return made(postgres=postgres_settings(), s3=s3_settings())


def postgres_settings() -> PostgresSettings:
    """Returns the database of the Connection ``recsys_pg_vector_backend``.

    Every field of its extra is a parameter of libpq, as for Airflow's `PostgresHook`: ``sslmode``,
    ``sslrootcert``, ``options``, ``target_session_attrs`` and so on; ``host`` and others replace
    the Connection's own. With ``iam``, the password is a token that is made anew at each call.

    Raises:
        ConfigurationError: libpq does not know a field, or a value is invalid.
    """
    from airflow.providers.postgres.hooks.postgres import PostgresHook
    from psycopg import ProgrammingError
    from psycopg.conninfo import make_conninfo

    hook = PostgresHook(postgres_conn_id=PG_CONN_ID)
    connection = hook.get_connection(PG_CONN_ID)
    extra = connection.extra_dejson
    login, password, port = connection.login, connection.password, connection.port
    if extra.get(_IAM):
        login, password, port = hook.get_iam_token(connection)
    ours = hook.ignored_extra_options | _OF_THE_CLIENT
    fields: dict[str, Any] = {
        "host": connection.host,
        "port": port,
        "dbname": connection.schema,
        "user": login,
        "password": password,
        **{name: value for name, value in extra.items() if name not in ours},
    }
    try:
        dsn = make_conninfo(**fields)
    except ProgrammingError:
        # The text of the error may contain the password, and logs show the cause of an error.
        raise ConfigurationError(
            f"the Airflow Connection {PG_CONN_ID} is invalid",
            found=f"extra fields that libpq does not know: {_unknown(fields)}",
            expected="parameters of libpq, such as sslmode",
            hint="edit the Connection in Airflow's UI, under Admin, Connections",
        ) from None
    return PostgresSettings.model_validate({"dsn": dsn})


def _unknown(fields: dict[str, Any]) -> str:
    from psycopg.pq import Conninfo

    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    return ", ".join(sorted(fields.keys() - known)) or "none; a value has a wrong form"


def s3_settings() -> S3Settings:
    """Returns the object store of the Connection ``recsys_s3``.

    Its extra holds ``bucket_name`` (or ``service_config.s3.bucket_name``) and, for servers other
    than AWS, ``endpoint_url``.
    """
    from airflow.sdk import Connection

    connection = Connection.get(S3_CONN_ID)
    extra = connection.extra_dejson
    bucket = extra.get("bucket_name") or (
        extra.get("service_config", {}).get("s3", {}).get("bucket_name")
    )
    if not bucket:
        raise ConfigurationError(
            f"the Airflow Connection {S3_CONN_ID} has no bucket",
            expected='"bucket_name" in its extra',
            hint="edit the Connection in Airflow's UI, under Admin, Connections",
        )
    return S3Settings.from_environment(
        {
            **os.environ,
            ENV_S3_BUCKET: bucket,
            ENV_S3_ENDPOINT: extra.get("endpoint_url") or "",
            ENV_S3_REGION: extra.get("region_name") or "",
            "AWS_ACCESS_KEY_ID": connection.login or "",
            "AWS_SECRET_ACCESS_KEY": connection.password or "",
        }
    )
