"""Addresses and secrets of alerts from Airflow's Connections, so that any secrets backend serves.

A Connection that exists replaces the environment variables of its channel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from pydantic import ValidationError

from recsys.alerts import AlertSettings
from recsys.errors import ConfigurationError, first_invalid_field
from recsys_dag.connections import find_connection

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from recsys.recommenders import Description

SLACK: Final = "recsys_alert_slack"
WEBHOOK: Final = "recsys_alert_webhook"
SMTP: Final = "recsys_alert_smtp"
_SLACK_URL: Final = "https://hooks.slack.com/services"


def with_connections(settings: AlertSettings, recommender: Description) -> AlertSettings:
    """Returns the settings of a recommender's alerts, with those of the Connections that exist.

    If its description names channels, it has these and no others.

    Args:
        settings: the channels that all recommenders share, as the variables say.
        recommender: the recommender.

    Raises:
        ConfigurationError: a Connection names no address, or one of the description is missing.
    """
    own = recommender.alert_fields
    fields = {**own, **_channels(recommender)}
    if "email_to" in own:
        # The Connection may have an address, too.
        fields["email_to"] = own["email_to"]
    if heartbeat := _heartbeat(recommender):
        fields["heartbeat_url"] = _address(heartbeat)
    if not fields:
        return settings
    try:
        # Not model_copy: the values must become secrets.
        return AlertSettings.model_validate({**settings.model_dump(), **fields})
    except ValidationError as error:
        raise ConfigurationError(
            "an Airflow Connection of the alerts is invalid",
            found=str(first_invalid_field(error)),
            hint="docs/runbook.md lists the Connections of alerts",
        ) from None


def _channels(recommender: Description) -> dict[str, Any]:
    """Returns the fields of the channels, of which it has a Connection."""
    route = recommender.alerts
    fields: dict[str, Any] = {}
    if slack := _channel(recommender, route.slack, SLACK):
        fields["slack_url"] = _slack_url(slack)
    if webhook := _channel(recommender, route.webhook, WEBHOOK):
        fields |= {"webhook_url": _address(webhook), "webhook_key": webhook.password or None}
    if smtp := _channel(recommender, route.smtp, SMTP):
        fields |= _smtp_fields(smtp)
    return fields


def _channel(recommender: Description, named: str | None, shared: str) -> Connection | None:
    """Returns a channel's Connection; None if the recommender does not use the channel."""
    if named is not None:
        return _existing(recommender, named)
    return None if recommender.alerts.channels else find_connection(shared)


def _heartbeat(recommender: Description) -> Connection | None:
    if (named := recommender.alerts.heartbeat) is not None:
        return _existing(recommender, named)
    return find_connection(recommender.heartbeat_connection)


def _existing(recommender: Description, conn_id: str) -> Connection:
    found = find_connection(conn_id)
    if found is None:
        raise ConfigurationError(
            f"the Airflow Connection {conn_id} does not exist",
            expected=f"a channel of {recommender.name}'s alerts, as its description says",
            hint="make it in Airflow's UI, under Admin, Connections, or correct the description",
        )
    return found


def _slack_url(connection: Connection) -> str:
    """Returns the URL as Airflow's Slack provider does: its secret part is the password."""
    secret = connection.password or ""
    if secret.startswith("https://"):
        return secret
    if not connection.host:
        return f"{_SLACK_URL}/{secret.lstrip('/')}"
    address = _address(connection)
    return f"{address.rstrip('/')}/{secret.lstrip('/')}" if secret else address


def _address(connection: Connection) -> str:
    """Returns the URL: the host if it is one, else from schema (https), host and port."""
    host = connection.host
    if not host:
        raise ConfigurationError(
            f"the Airflow Connection {connection.conn_id} has no address",
            expected="a URL as its host",
            hint="edit the Connection in Airflow's UI, under Admin, Connections",
        )
    port = f":{connection.port}" if connection.port else ""
    if "://" in host:
        return f"{host}{port}"
    return f"{connection.schema or 'https'}://{host}{port}"


def _smtp_fields(connection: Connection) -> dict[str, Any]:
    """Returns the fields of e-mail, with the meaning that Airflow's `SmtpHook` gives them."""
    extra = connection.extra_dejson
    encrypted = not extra.get("disable_ssl")
    login = ""
    if connection.login:
        login = quote(connection.login, safe="") + ":" + quote(connection.password or "", safe="")
        login += "@"
    port = connection.port or (465 if encrypted else 25)
    scheme = "smtps" if encrypted else "smtp"
    fields: dict[str, Any] = {
        "smtp_url": f"{scheme}://{login}{connection.host or 'localhost'}:{port}"
    }
    if extra.get("from_email"):
        fields["email_from"] = extra["from_email"]
    if extra.get("email_to"):
        fields["email_to"] = extra["email_to"]
    return fields
