"""Whom to tell of what."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Kind(StrEnum):
    """What an alert is about; docs/runbook.md has an entry for each."""

    RUN_FAILED = "run_failed"
    RUN_LATE = "run_late"
    REJECTED = "rejected"
    RECOVERED = "recovered"
    ROLLED_BACK = "rolled_back"
    OVERRIDDEN = "overridden"
    STALE = "stale"
    PROMOTED = "promoted"


QUIET: Final = frozenset({Kind.PROMOTED})
"""Told only where somebody asks for it: it is what should happen."""


class AlertSettings(BaseSettings):
    """Environment: ``RECSYS_ALERT_*``. A channel without an address is not used.

    Addresses are secrets: whoever knows a webhook can write to it.
    """

    model_config = SettingsConfigDict(
        env_prefix="RECSYS_ALERT_", env_ignore_empty=True, hide_input_in_errors=True
    )

    slack_url: SecretStr | None = Field(
        default=None, description="incoming webhook of Slack, or of what speaks like it"
    )
    webhook_url: SecretStr | None = Field(default=None, description="gets each alert as JSON")
    webhook_key: SecretStr | None = Field(
        default=None, description="signs the body: header X-Recsys-Signature, HMAC-SHA256 in hex"
    )
    smtp_url: SecretStr | None = Field(
        default=None, description="smtp://user:password@host:587 (STARTTLS) or smtps://..."
    )
    email_from: str = "recsys@localhost"
    email_to: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="addresses, divided by commas"
    )
    kinds: Annotated[frozenset[Kind], NoDecode] = Field(
        default=frozenset(Kind) - QUIET, description="what to tell, divided by commas"
    )
    heartbeat_url: SecretStr | None = Field(
        default=None,
        description="asked every five minutes while all is well; its silence is the alarm "
        "(healthchecks.io and its like)",
    )
    link: str = Field(default="", description="address of Airflow's UI, put into each alert")

    @field_validator("email_to", "kinds", mode="before")
    @classmethod
    def _divided_by_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value
