"""Alert routing: which channel gets which kind of event."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class AlertKind(StrEnum):
    """The kind of event that an alert is about; docs/runbook.md has an entry for each."""

    RUN_FAILED = "run_failed"
    RUN_LATE = "run_late"
    REJECTED = "rejected"
    RECOVERED = "recovered"
    ROLLED_BACK = "rolled_back"
    OVERRIDDEN = "overridden"
    DECAYED = "decayed"
    STALE = "stale"
    PROMOTED = "promoted"


OPT_IN: Final = frozenset({AlertKind.PROMOTED})
"""Kinds that are sent only if ``RECSYS_ALERT_KINDS`` lists them: they need no attention."""


class AlertSettings(BaseSettings):
    """Environment: ``RECSYS_ALERT_*``. A channel without an address is not used.

    Addresses are secrets: anyone who has the URL of a webhook can post to it.
    """

    model_config = SettingsConfigDict(
        env_prefix="RECSYS_ALERT_", env_ignore_empty=True, hide_input_in_errors=True
    )

    slack_url: SecretStr | None = Field(
        default=None, description="incoming webhook of Slack or a compatible service"
    )
    webhook_url: SecretStr | None = Field(default=None, description="receives each alert as JSON")
    webhook_key: SecretStr | None = Field(
        default=None, description="signs the body: header X-Recsys-Signature, HMAC-SHA256 in hex"
    )
    smtp_url: SecretStr | None = Field(
        default=None, description="smtp://user:password@host:587 (STARTTLS) or smtps://..."
    )
    email_from: str = "recsys@localhost"
    email_to: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="addresses, separated by commas"
    )
    kinds: Annotated[frozenset[AlertKind], NoDecode] = Field(
        default=frozenset(AlertKind) - OPT_IN,
        description="kinds of alert to send, separated by commas",
    )
    heartbeat_url: SecretStr | None = Field(
        default=None,
        description="requested every five minutes while all services work, so that a monitor such "
        "as healthchecks.io raises the alarm if the requests stop",
    )
    link: str = Field(default="", description="URL of Airflow's UI, added to each alert")

    recommender: str = Field(
        default="",
        description="begins the title of each alert, where several recommenders share a channel",
    )

    @field_validator("email_to", "kinds", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value
