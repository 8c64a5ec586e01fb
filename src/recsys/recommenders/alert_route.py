"""Where the alerts of a recommender go."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from recsys.alerts import AlertKind


def _check_address(text: str) -> str:
    name, at, domain = text.partition("@")
    if not (name and at and domain) or not text.isprintable() or set(text) & set(" ,<>"):
        raise ValueError("not one e-mail address, such as team@example.com")
    return text


ConnectionId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,200}$")]
Address = Annotated[str, Field(max_length=254), AfterValidator(_check_address)]


class AlertRoute(BaseModel):
    """Where its alerts go. If it names a channel, it has only the channels that it names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slack: ConnectionId | None = Field(
        default=None, description="Airflow Connection of an incoming webhook of Slack"
    )
    webhook: ConnectionId | None = Field(
        default=None, description="Airflow Connection of a receiver of JSON"
    )
    smtp: ConnectionId | None = Field(
        default=None, description="Airflow Connection of an SMTP server"
    )
    email_to: tuple[Address, ...] | None = Field(
        default=None, min_length=1, max_length=50, description="who gets e-mail"
    )
    kinds: frozenset[AlertKind] | None = Field(
        default=None, description="kinds of alert to send; RECSYS_ALERT_KINDS"
    )
    heartbeat: ConnectionId | None = Field(
        default=None,
        description="Airflow Connection of the URL that is requested while all services work; "
        "by default recsys_alert_heartbeat_<name>, of the first recommender recsys_alert_heartbeat",
    )

    @property
    def channels(self) -> dict[str, str]:
        """The ids of the Connections that it names, by the name of the channel."""
        named = {"slack": self.slack, "webhook": self.webhook, "email": self.smtp}
        return {channel: conn_id for channel, conn_id in named.items() if conn_id}
