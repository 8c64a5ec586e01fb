"""PostgreSQL and S3 as Airflow's Connections define them, as the providers' hooks do.

tests/e2e/test_connections.py compares both with the hooks.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from recsys import database, recommenders
from recsys.database import PostgresSettings
from recsys.errors import ConfigurationError, first_invalid_field
from recsys.object_store import S3Settings
from recsys.recommenders import FIRST_RECOMMENDER, Namespace
from recsys.services import Services
from recsys.signing import SigningKey, find_signing_key
from recsys_dag import descriptions

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper
    from airflow.sdk import Connection

    from recsys.recommenders import Description

Settings = TypeVar("Settings", bound=BaseModel)

log = logging.getLogger(__name__)

S3_CONN_ID: Final = "recsys_s3"
TRAINER_S3_CONN_ID: Final = "recsys_trainer_s3"
SIGNING_CONN_ID: Final = "recsys_signing"
PG_CONN_ID: Final = "recsys_pg_vector_backend"
_IAM: Final = "iam"
_ASSUME_ROLE: Final = "assume_role"
STORE_CONN_TYPE: Final = "recsys_store"
VECTORS_CONN_TYPE: Final = "recsys_vectors"
"""Connection types of the provider `airflow_provider_recsys`; Airflow's own types also serve."""
READ_ONLY: Final = "read_only"
"""Extra field of the provider's types: the account may only read, so its test writes nothing."""
_OF_THE_CLIENT: Final = {"autocommit", "context", "cursor_factory", "prepare_threshold", READ_ONLY}
"""Extra fields that say how psycopg uses a session, not where it connects; ours are fixed."""


@dataclass(frozen=True, kw_only=True)
class _TokenServices(Services):
    """Services whose database takes a token in place of a password: it expires within minutes."""

    renewed: Callable[[], PostgresSettings]

    def connect(self) -> AbstractContextManager[database.Connection]:
        return database.connect(self.renewed())


def services(
    pg_conn_id: str = PG_CONN_ID, s3_conn_id: str = S3_CONN_ID, recommender: str = FIRST_RECOMMENDER
) -> Services:
    """Returns a recommender's database and its part of the bucket; it need not be described here.

    Args:
        pg_conn_id: the Connection of the database.
        s3_conn_id: the Connection of the bucket.
        recommender: name of the recommender.

    Raises:
        ConfigurationError: a Connection is invalid or names no bucket.
    """
    read = partial(postgres_of_name, recommender, pg_conn_id)
    return _services(pg_conn_id, read, s3_of_name(recommender, s3_conn_id))


def postgres_of_name(recommender: str, conn_id: str = PG_CONN_ID) -> PostgresSettings:
    """Returns the settings of the database of the recommender with a name."""
    return recommenders.postgres_of(Namespace(recommender), postgres_settings(conn_id))


def s3_of_name(recommender: str, conn_id: str = S3_CONN_ID) -> S3Settings:
    """Returns the settings of the part of the bucket of the recommender with a name."""
    return recommenders.s3_of(Namespace(recommender), s3_settings(conn_id))


def services_of_recommender(recommender: Description) -> Services:
    """Returns a recommender's database and its part of the bucket, as its Connections define them.

    Raises:
        ConfigurationError: a Connection is invalid or names no bucket.
    """
    read = partial(postgres_of_recommender, recommender)
    return _services(recommender.connections.postgres, read, s3_of_recommender(recommender))


def _services(pg_conn_id: str, read: Callable[[], PostgresSettings], s3: S3Settings) -> Services:
    from airflow.sdk import Connection

    if Connection.get(pg_conn_id).extra_dejson.get(_IAM):
        return _TokenServices(postgres=read(), s3=s3, renewed=read)
    return Services(postgres=read(), s3=s3)


def postgres_of_recommender(recommender: Description) -> PostgresSettings:
    """Returns the settings of a recommender's database."""
    return postgres_of_name(recommender.name, recommender.connections.postgres)


def s3_of_recommender(recommender: Description) -> S3Settings:
    """Returns the settings of a recommender's part of the bucket."""
    return s3_of_name(recommender.name, recommender.connections.s3)


def services_of_command_line() -> Services:
    """Returns `services` for the command ``recsys`` in a pod or container of Airflow.

    ``RECSYS_SERVICES`` names this function, ``RECSYS_RECOMMENDER`` the recommender.
    """
    with as_a_server():
        return services_of_recommender(descriptions.named(recommenders.chosen_recommender()))


@contextmanager
def as_a_server() -> Iterator[None]:
    """Lets a command read Connections.

    Outside of a task, Airflow reads them from its metadata database only in a process of a server,
    as its own command line says that it is.
    """
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    # Airflow's libraries log to standard output, which is for the command's result.
    with redirect_stdout(sys.stderr):
        yield


def postgres_settings(conn_id: str = PG_CONN_ID) -> PostgresSettings:
    """Returns the database of a Connection, by default ``recsys_pg_vector_backend``.

    Every field of its extra is a parameter of libpq, as for Airflow's `PostgresHook`: ``sslmode``,
    ``sslrootcert``, ``options``, ``target_session_attrs`` and so on; ``host`` and others replace
    the Connection's own. With ``iam``, the password is a token that is made anew at each call.

    Args:
        conn_id: the Connection, of Airflow's type ``postgres`` or of the provider's type.

    Raises:
        ConfigurationError: libpq does not know a field, or a value is invalid.
    """
    from airflow.providers.postgres.hooks.postgres import PostgresHook
    from psycopg import ProgrammingError
    from psycopg.conninfo import make_conninfo

    hook = PostgresHook(postgres_conn_id=conn_id)
    connection = hook.get_connection(conn_id)
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
    if connection.conn_type == VECTORS_CONN_TYPE:
        # The form sends an empty text for a field that was left empty.
        fields = {name: value for name, value in fields.items() if value != ""}
    try:
        dsn = make_conninfo(**fields)
    except ProgrammingError:
        # The text of the error may contain the password, and logs show the cause of an error.
        raise ConfigurationError(
            f"the Airflow Connection {conn_id} is invalid",
            found=f"extra fields that libpq does not know: {_unknown(fields)}",
            expected="parameters of libpq, such as sslmode",
            hint="edit the Connection in Airflow's UI, under Admin, Connections",
        ) from None
    return _checked(PostgresSettings, conn_id, {"dsn": dsn})


def _unknown(fields: dict[str, Any]) -> str:
    from psycopg.pq import Conninfo

    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    return ", ".join(sorted(fields.keys() - known)) or "none; a value has a wrong form"


def trainer_s3_settings(recommender: Description) -> S3Settings:
    """Returns the object store with the trainer's own account, if it has a Connection.

    Without it (``recsys_trainer_s3``), the trainer gets the pipeline's account, as before.
    """
    ours, conn_id = s3_of_recommender(recommender), recommender.connections.trainer_s3
    if find_connection(conn_id) is None:
        return ours
    # The keys are of the same recommender, whatever account writes them.
    return s3_settings(conn_id).model_copy(update={"prefix": ours.prefix})


def signing_key(conn_id: str = SIGNING_CONN_ID) -> SigningKey | None:
    """Returns the private key that signs releases: the password of ``recsys_signing``, in PEM form.

    Without this Connection, the file that ``RECSYS_SIGNING_KEY_FILE`` names; None if neither is
    set. Only the task that signs calls it: no other process gets the key.

    Args:
        conn_id: the Connection.

    Raises:
        ConfigurationError: the key cannot be read.
    """
    connection = find_connection(conn_id)
    if connection is None:
        return find_signing_key(os.environ)
    # Some forms store a text of several lines with the two characters "\\n" between them.
    pem = (connection.password or "").replace("\\n", "\n")
    return SigningKey(pem.encode(), f"the Airflow Connection {conn_id}")


def find_connection(conn_id: str) -> Connection | None:
    """Returns a Connection, or None if it does not exist."""
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found: Connection = Connection.get(conn_id)
        return found
    except AirflowNotFoundException:
        return None


def s3_settings(conn_id: str = S3_CONN_ID) -> S3Settings:
    """Returns the object store of an aws Connection, by default ``recsys_s3``.

    Airflow's own hook reads it: keys (also from its extra), session token, profile, role,
    ``verify``, ``config_kwargs``, region and ``endpoint_url``, the last also from
    ``service_config.s3``. An empty Connection has the identity of the machine. The extra also holds
    ``bucket_name``, or ``service_config.s3.bucket_name``, and
    ``key_prefix`` if several recommenders share the bucket.

    Args:
        conn_id: the Connection.

    Raises:
        ConfigurationError: the Connection is invalid or has no bucket.
    """
    import botocore.session
    from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowException
    from botocore.exceptions import BotoCoreError

    # The hook would take the machine's identity for a Connection that does not exist.
    connection = Connection.get(conn_id)
    try:
        hook: AwsGenericHook[Any] = AwsGenericHook(aws_conn_id=conn_id, client_type="s3")
        with warnings.catch_warnings():
            if connection.conn_type == STORE_CONN_TYPE:
                warnings.filterwarnings("ignore", ".*expected connection type 'aws'")
            found = hook.conn_config
        bucket = found.extra_config.get("bucket_name") or hook.service_config.get("bucket_name")
        machine = botocore.session.Session(profile=found.profile_name)
        region = found.region_name or machine.get_config_variable("region")
    # NotImplementedError: the hook raises it for a method of assuming a role that it does not have.
    # AttributeError: a field that has to be an object is none.
    except (
        AirflowException,
        AttributeError,
        BotoCoreError,
        TypeError,
        ValueError,
        NotImplementedError,
    ) as error:
        raise ConfigurationError(
            f"the Airflow Connection {conn_id} is invalid",
            found=str(error),
            hint="edit the Connection in Airflow's UI, under Admin, Connections",
        ) from error
    if not bucket:
        raise ConfigurationError(
            f"the Airflow Connection {conn_id} has no bucket",
            expected='"bucket_name" in its extra',
            hint="edit the Connection in Airflow's UI, under Admin, Connections",
        )
    if connection.host or found.extra_config.get("host"):
        log.warning(
            "the host of the Airflow Connection %s is not used, as in Airflow's hook: "
            'set "endpoint_url" in its extra',
            conn_id,
        )
    settings = _checked(
        S3Settings,
        conn_id,
        {
            "bucket": bucket,
            "endpoint": found.get_service_endpoint_url("s3") or None,
            "region": region or S3Settings.model_fields["region"].default,
            "prefix": found.extra_config.get("key_prefix") or "",
            "access_key": found.aws_access_key_id,
            "secret_key": found.aws_secret_access_key,
            "session_token": found.aws_session_token,
            "profile": found.profile_name,
            **_assume_role(found, conn_id),
            "verify": found.verify,
            "config": found.extra_config.get("config_kwargs") or {},
        },
    )
    # The hook also knows the other ways to assume a role (SAML, web identity), and renews them.
    if found.role_arn:
        return settings.with_session(partial(hook.get_session, region_name=settings.region))
    return settings


def _checked(kind: type[Settings], conn_id: str, fields: dict[str, Any]) -> Settings:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise ConfigurationError(
            f"the Airflow Connection {conn_id} is invalid",
            found=str(first_invalid_field(error)),
            hint="edit the Connection in Airflow's UI, under Admin, Connections",
        ) from None


def _assume_role(found: AwsConnectionWrapper, conn_id: str) -> dict[str, Any]:
    """Returns the role that a process without Airflow can assume with the credentials alone."""
    if not found.role_arn or found.assume_role_method != _ASSUME_ROLE:
        return {"role_arn": None, "role_options": {}, "sts_endpoint": None}
    # The hook's name, for policies that name sessions.
    options = {"RoleSessionName": f"airflow_{conn_id}", **found.assume_role_kwargs}
    return {
        "role_arn": found.role_arn,
        "role_options": options,
        "sts_endpoint": found.get_service_endpoint_url("sts", sts_connection_assume=True),
    }
