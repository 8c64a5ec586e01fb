"""Makes the settings of the domain from Airflow's Connections, Params and environment variables.

Functions that run when the DAG file is parsed read environment variables only; those that run in a
task also read Connections. Heavy modules are imported in functions: every task process imports
this module.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys import alerts, features, releases
from recsys.contract import BuildSettings
from recsys.dataset import DEFAULT_SOURCE
from recsys.gate import ForwardSettings, GateSettings
from recsys.recommenders import Launcher
from recsys_dag.environment import read, read_json
from recsys_dag.trainer import settings as trainer_settings

if TYPE_CHECKING:
    from recsys.dataset import FetchSettings
    from recsys.recommenders import Description
    from recsys.services import Services
    from recsys.signing import SigningKey
    from recsys.trainer_process import LocalTrainer

GATE_PREFIX: Final = "gate_"

# --- when the DAG file is parsed ---


def default_source(recommender: Description) -> str:
    """Returns the dataset's source: a zip with its md5 in ``<source>.md5``, or several mirrors."""
    if recommender.source:
        return " ".join(recommender.source)
    return os.environ.get("RECSYS_SOURCE") or DEFAULT_SOURCE


class PacingSettings(BaseSettings):
    """How often something is done; environment: ``RECSYS_*``."""

    model_config = SettingsConfigDict(env_prefix="RECSYS_", env_ignore_empty=True)

    poll_interval_s: float = Field(default=300, gt=0)
    retry_delay_s: float = Field(default=30, ge=0)
    max_age_days: float = Field(default=15, ge=0)


def poll_interval() -> float:
    """Returns the seconds between two polls of the md5 by the asset watcher."""
    return _pacing().poll_interval_s


def retry_delay() -> timedelta:
    """Returns the delay before the first retry of a task; it doubles with each retry."""
    return timedelta(seconds=_pacing().retry_delay_s)


def _pacing() -> PacingSettings:
    return read(PacingSettings, hint="docs/settings.md lists the settings")


# --- when a task runs ---


def person() -> str | None:
    """Returns who runs a DAG by hand without Airflow's login (``RECSYS_ACTOR``); None if unset."""
    return os.environ.get("RECSYS_ACTOR") or None


def max_age(recommender: Description) -> timedelta:
    """Returns the largest age of the last success before an alert is sent."""
    return timedelta(days=recommender.max_age_days or _pacing().max_age_days)


def alerts_of(recommender: Description) -> alerts.AlertSettings:
    """Returns the channels and kinds of a recommender's alerts: ``RECSYS_ALERT_*``, Connections.

    Several recommenders may send to one channel: the alerts of all but the first begin with the
    title. Each has a heartbeat of its own, because its pings must stop when it alone stands still.
    """
    from recsys_dag.alert_connections import with_connections

    hint = "docs/runbook.md lists the settings of alerts"
    return with_connections(read(alerts.AlertSettings, hint=hint), recommender)


def alerts_of_command_line() -> alerts.AlertSettings:
    """Returns `alerts_of` the recommender of a command in a pod or container of Airflow."""
    from recsys import recommenders
    from recsys_dag import descriptions
    from recsys_dag.connections import as_a_server

    with as_a_server():
        return alerts_of(descriptions.named(recommenders.chosen_recommender()))


def services(recommender: Description) -> Services:
    """Returns PostgreSQL and S3 as the Airflow Connections define them; see `connections`."""
    from recsys_dag import connections

    return connections.services_of_recommender(recommender)


def fetch_settings(recommender: Description, source: str) -> FetchSettings:
    """Returns timeouts and credentials of a source: ``RECSYS_FETCH_*``, and its Connection."""
    from recsys_dag import source_connection

    return source_connection.fetch_settings(source, recommender.connections.source)


def signing_key(recommender: Description) -> SigningKey | None:
    """Returns the private key that signs releases; None if releases are not signed."""
    from recsys_dag import connections

    return connections.signing_key(recommender.connections.signing)


def trainer_services(recommender: Description) -> Services:
    """Returns `services` with the trainer's own account of S3, if it has a Connection."""
    from recsys_dag import connections

    return replace(services(recommender), s3=connections.trainer_s3_settings(recommender))


def trainer() -> LocalTrainer:
    """Returns the trainer on this machine (``RECSYS_ROOT``, ``RECSYS_TRAINER_PYTHON``)."""
    from recsys.trainer_process import LocalTrainer

    root = Path(os.environ.get("RECSYS_ROOT") or Path(__file__).resolve().parents[2])
    python = os.environ.get("RECSYS_TRAINER_PYTHON") or root / "trainer/.venv/bin/python"
    return LocalTrainer(python=Path(python), root=root)


def trainer_image(recommender: Description) -> str | None:
    """Returns the trainer's image by digest; None if the trainer is a local process.

    Unless the description names it, the image is an Airflow Variable, so that pushing a new one
    needs no restart.
    """
    from airflow.sdk import Variable

    if trainer_settings.launcher(recommender) == Launcher.LOCAL:
        return None
    if recommender.trainer.image is not None:
        return recommender.trainer.image
    return str(Variable.get(recommender.trainer_image_variable, default=""))


def trainer_digest(recommender: Description, image: str | None) -> str:
    """Returns the digest of the image, or the hash of the local sources if there is no image."""
    if image is None:
        return trainer().digest()
    return trainer_settings.digest_of(image, recommender.trainer_image_variable)


def build_settings(recommender: Description, params: Mapping[str, Any]) -> BuildSettings:
    """Returns the build settings, else ``RECSYS_BUILD_SETTINGS`` (JSON); and the Param seed."""
    built = recommender.build or read_json(
        BuildSettings, "RECSYS_BUILD_SETTINGS", expected="a JSON object of build settings"
    )
    if (seed := params.get("seed")) is None:
        return built
    trainer = built.trainer.model_copy(update={"seed": int(seed)})
    return built.model_copy(update={"trainer": trainer})


def drift_settings(recommender: Description, params: Mapping[str, Any]) -> features.DriftSettings:
    """Returns the limits of drift, else ``RECSYS_DRIFT_SETTINGS``; and the Param accept_drift."""
    limits = recommender.drift or read_json(
        features.DriftSettings,
        "RECSYS_DRIFT_SETTINGS",
        expected='a JSON object with "warn", "hard" or "accept"',
    )
    return limits.model_copy(update={"accept": limits.accept or bool(params["accept_drift"])})


def retention_settings(recommender: Description) -> releases.RetentionSettings:
    """Returns how many releases retirement keeps, else ``RECSYS_RETENTION_SETTINGS`` (JSON)."""
    return recommender.retention or read_json(
        releases.RetentionSettings,
        "RECSYS_RETENTION_SETTINGS",
        expected="a JSON object with keep_releases, abandon_after_hours or forget_after_hours",
    )


def forward_settings(recommender: Description) -> ForwardSettings:
    """Returns which releases are tested on new ratings, else ``RECSYS_FORWARD_SETTINGS`` (JSON)."""
    return recommender.forward or read_json(
        ForwardSettings,
        "RECSYS_FORWARD_SETTINGS",
        expected=f"a JSON object with {', '.join(ForwardSettings.model_fields)}",
    )


def gate_settings(recommender: Description, params: Mapping[str, Any]) -> GateSettings:
    """Returns the gate's limits from this run's Params; an empty one is as the description says."""
    chosen = {name: params.get(GATE_PREFIX + name) for name in GateSettings.model_fields}
    limits = {name: limit for name, limit in chosen.items() if limit is not None}
    return GateSettings.model_validate(recommender.gate.model_dump() | limits)
