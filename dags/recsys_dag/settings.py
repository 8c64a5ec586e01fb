"""Airflow's Connections, Params and the environment of its processes -> settings of the domain.

The functions under "when the DAG file is parsed" read environment variables only; those under
"when a task runs" read Connections. No heavy import at module level: every task process pays it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recsys.contract import ENV_S3_BUCKET, ENV_S3_ENDPOINT, ENV_S3_REGION, BuildSettings
from recsys.database import PostgresSettings
from recsys.dataset import DEFAULT_SOURCE
from recsys.features import DriftSettings
from recsys.gate import GateSettings
from recsys.object_store import S3Settings
from recsys_dag.trainer import settings as trainer_settings

if TYPE_CHECKING:
    from recsys.alerts import AlertSettings
    from recsys.services import Services
    from recsys.trainer_process import LocalTrainer

S3_CONN_ID: Final = "recsys_s3"
PG_CONN_ID: Final = "recsys_pg_vector_backend"
GATE_PREFIX: Final = "gate_"

# --- when the DAG file is parsed ---


def default_source() -> str:
    """The dataset's zip, its md5 beside it (``<source>.md5``); mirrors may follow after blanks."""
    return os.environ.get("RECSYS_SOURCE") or DEFAULT_SOURCE


def poll_interval() -> float:
    """Seconds between two looks at the md5 by the asset watcher."""
    return float(os.environ.get("RECSYS_POLL_INTERVAL_S", "300"))


def retry_delay() -> timedelta:
    """Pause before the first retry of a task; later ones double it."""
    return timedelta(seconds=float(os.environ.get("RECSYS_RETRY_DELAY_S", "30")))


def deadline() -> timedelta:
    """How long after it was asked for a run should have ended, before someone is told."""
    return timedelta(hours=float(os.environ.get("RECSYS_DEADLINE_HOURS", "6")))


# --- when a task runs ---


def person() -> str | None:
    """Who runs a DAG by hand, outside Airflow's own login (``RECSYS_ACTOR``)."""
    return os.environ.get("RECSYS_ACTOR") or None


def max_age() -> timedelta:
    """How long ago the last success may be before someone is told."""
    return timedelta(days=float(os.environ.get("RECSYS_MAX_AGE_DAYS", "15")))


def alert_settings() -> AlertSettings:
    """Whom to tell of what (``RECSYS_ALERT_*``)."""
    from recsys.alerts import AlertSettings
    from recsys_dag.environment import read

    found: AlertSettings = read(AlertSettings, hint="docs/runbook.md lists the settings of alerts")
    return found


def services() -> Services:
    """PostgreSQL and S3 as the Connections name them.

    ``recsys_s3`` is an aws Connection whose extra holds ``bucket_name`` (or
    ``service_config.s3.bucket_name``) and, for servers other than AWS, ``endpoint_url``.
    """
    from airflow.sdk import Connection
    from psycopg.conninfo import make_conninfo

    from recsys.errors import ConfigurationError
    from recsys.services import Services

    s3 = Connection.get(S3_CONN_ID)
    extra = s3.extra_dejson
    bucket = extra.get("bucket_name") or (
        extra.get("service_config", {}).get("s3", {}).get("bucket_name")
    )
    if not bucket:
        raise ConfigurationError(
            f"the connection {S3_CONN_ID} names no bucket",
            expected='"bucket_name" in its extra',
            hint="edit the connection under Admin, Connections",
        )
    pg = Connection.get(PG_CONN_ID)
    dsn = make_conninfo(
        host=pg.host, port=pg.port, dbname=pg.schema, user=pg.login, password=pg.password
    )
    return Services(
        postgres=PostgresSettings.model_validate({"dsn": dsn}),
        s3=S3Settings.from_environment(
            {
                **os.environ,
                ENV_S3_BUCKET: bucket,
                ENV_S3_ENDPOINT: extra.get("endpoint_url") or "",
                ENV_S3_REGION: extra.get("region_name") or "",
                "AWS_ACCESS_KEY_ID": s3.login or "",
                "AWS_SECRET_ACCESS_KEY": s3.password or "",
            }
        ),
    )


def trainer() -> LocalTrainer:
    """The trainer's environment on this machine: beside the DAGs, or where the settings say."""
    from recsys.trainer_process import LocalTrainer

    root = Path(os.environ.get("RECSYS_ROOT") or Path(__file__).resolve().parents[2])
    python = os.environ.get("RECSYS_TRAINER_PYTHON") or root / "trainer/.venv/bin/python"
    return LocalTrainer(python=Path(python), root=root)


def trainer_image() -> str | None:
    """The image of the trainer, by digest; None where it is a local process.

    It is an Airflow Variable, so that a push of the image can change it without a restart.
    """
    from airflow.sdk import Variable

    if trainer_settings.launcher() == trainer_settings.Launcher.LOCAL:
        return None
    return str(Variable.get(trainer_settings.IMAGE_VARIABLE, default=""))


def trainer_digest(image: str | None) -> str:
    """What a build says of its trainer: the image's digest, or a hash of the local sources."""
    return trainer().digest() if image is None else trainer_settings.digest_of(image)


def build_settings() -> BuildSettings:
    """Settings that change the outcome: ``RECSYS_BUILD_SETTINGS`` (JSON), else the defaults."""
    from recsys_dag.environment import read_json

    return read_json(
        BuildSettings, "RECSYS_BUILD_SETTINGS", expected="a JSON object of build settings"
    )


def drift_settings(params: Mapping[str, Any]) -> DriftSettings:
    """Limits of drift: ``RECSYS_DRIFT_SETTINGS`` (JSON), else the defaults; Param accept_drift."""
    from recsys_dag.environment import read_json

    limits = read_json(
        DriftSettings,
        "RECSYS_DRIFT_SETTINGS",
        expected='a JSON object with "warn", "hard" or "accept"',
    )
    return limits.model_copy(update={"accept": limits.accept or params["accept_drift"]})


def gate_settings(params: Mapping[str, Any]) -> GateSettings:
    """The limits of the gate as this run's Params say."""
    return GateSettings(**{name: params[GATE_PREFIX + name] for name in GateSettings.model_fields})
