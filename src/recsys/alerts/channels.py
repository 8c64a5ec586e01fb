"""Channels of alerts: Slack, a generic webhook, e-mail."""

from __future__ import annotations

import hashlib
import hmac
import json
import smtplib
import ssl
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from email.message import EmailMessage
from email.utils import formatdate
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

import requests
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from recsys.alerts.settings import AlertKind, AlertSettings
from recsys.errors import ConfigurationError, ServiceUnavailableError
from recsys.http_client import TRANSPORT_ERRORS, open_session, untrusted_certificate

TIMEOUT_S: Final = 10.0
SIGNATURE: Final = "X-Recsys-Signature"


@dataclass(frozen=True)
class Alert:
    """A message about one event.

    Attributes:
        event: identifies the event in this pipeline's ledger.
        key: idempotency key, unique among all pipelines; receivers may drop duplicates by it.
        kind: kind of event.
        title: one sentence.
        facts: details by name, in the order to show them.
        link: URL to open; empty if there is none.
    """

    event: str
    key: str
    kind: AlertKind
    title: str
    facts: Mapping[str, str] = field(default_factory=dict)
    link: str = ""

    @property
    def text(self) -> str:
        """The alert as lines of plain text."""
        lines = [self.title, *(f"{name}: {value}" for name, value in self.facts.items())]
        return "\n".join([*lines, self.link] if self.link else lines)


class UnconfirmedDeliveryError(ServiceUnavailableError):
    """The connection broke after the alert was sent, so it may have arrived."""


class Channel(Protocol):
    """A destination of alerts."""

    @property
    def name(self) -> str:
        """Identifies the channel in the ledger."""

    @property
    def supports_idempotency_key(self) -> bool:
        """Whether receivers can drop duplicates by the key that is sent along."""

    def send(self, alert: Alert) -> None:
        """Sends an alert.

        Raises:
            ServiceUnavailableError: the receiver did not accept it.
            UnconfirmedDeliveryError: the receiver may or may not have received it.
        """


@dataclass(frozen=True)
class Slack:
    """An incoming webhook of Slack or of a compatible service."""

    url: str = field(repr=False)
    name: str = "slack"
    supports_idempotency_key: bool = False

    def send(self, alert: Alert) -> None:
        """Posts the alert as text."""
        # Slack interprets <, > and & as markup: text from outside must not become a link.
        text = alert.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        _post(self.name, self.url, json.dumps({"text": text}).encode(), {})


@dataclass(frozen=True)
class Webhook:
    """A receiver of JSON: the fields of the alert, signed if there is a key."""

    url: str = field(repr=False)
    key: str | None = field(default=None, repr=False)
    name: str = "webhook"
    supports_idempotency_key: bool = True

    def send(self, alert: Alert) -> None:
        """Posts the fields of the alert as JSON."""
        body = json.dumps(asdict(alert), default=str).encode()
        headers = {"Idempotency-Key": alert.key}
        if self.key:
            headers[SIGNATURE] = hmac.new(self.key.encode(), body, hashlib.sha256).hexdigest()
        _post(self.name, self.url, body, headers)


@dataclass(frozen=True)
class Email:
    """One message to all addresses, through an SMTP server."""

    url: str = field(repr=False)
    sender: str
    receivers: tuple[str, ...]
    name: str = "email"
    supports_idempotency_key: bool = True

    def send(self, alert: Alert) -> None:
        """Sends the alert as one message to all receivers."""
        message = EmailMessage()
        # The library rejects a line break in a header, and titles contain names from outside.
        message["Subject"] = f"[recsys] {' '.join(alert.title.split())}"
        message["From"] = self.sender
        message["To"] = ", ".join(self.receivers)
        message["Date"] = formatdate(localtime=True)
        message["Message-ID"] = f"<{hashlib.sha256(alert.key.encode()).hexdigest()}@recsys>"
        # Prevents automatic replies such as out-of-office notes (RFC 3834).
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(alert.text + "\n")
        server = urlsplit(self.url)
        try:
            port = server.port
        except ValueError:
            raise ConfigurationError(
                "the port in RECSYS_ALERT_SMTP_URL is invalid", expected="a number"
            ) from None
        try:
            with _smtp(server.scheme, server.hostname or "localhost", port) as smtp:
                if server.username:
                    smtp.login(unquote(server.username), unquote(server.password or ""))
                smtp.send_message(message)
        except (OSError, smtplib.SMTPException) as error:
            raise ServiceUnavailableError(
                "the mail server did not accept an alert",
                found=f"{type(error).__name__}: {error}",
                hint="check RECSYS_ALERT_SMTP_URL; `recsys alerts --test` tries again",
            ) from error


def configured_channels(settings: AlertSettings) -> list[Channel]:
    """Returns the channels that have an address.

    Raises:
        ConfigurationError: there is a mail server and no recipient.
    """
    channels: list[Channel] = []
    if settings.slack_url:
        channels.append(Slack(settings.slack_url.get_secret_value()))
    if settings.webhook_url:
        key = settings.webhook_key.get_secret_value() if settings.webhook_key else None
        channels.append(Webhook(settings.webhook_url.get_secret_value(), key))
    if settings.smtp_url:
        if not settings.email_to:
            raise ConfigurationError(
                "alerts have a mail server and no recipient",
                expected="addresses in RECSYS_ALERT_EMAIL_TO, separated by commas",
            )
        url = settings.smtp_url.get_secret_value()
        channels.append(Email(url, settings.email_from, settings.email_to))
    return channels


def ping(url: str) -> None:
    """Requests the URL of a heartbeat service.

    Raises:
        ServiceUnavailableError: it did not respond with success.
    """
    _request("heartbeat", "GET", url)


def _post(name: str, url: str, body: bytes, headers: Mapping[str, str]) -> None:
    _request(name, "POST", url, body, {"Content-Type": "application/json", **headers})


def _request(
    name: str,
    method: str,
    url: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> None:
    try:
        with open_session(connect_attempts=2) as session:
            response = session.request(
                method, url, data=body, headers=headers, timeout=TIMEOUT_S, allow_redirects=False
            )
    # Requests raises OSError for a bundle of certificates that does not exist.
    except (*TRANSPORT_ERRORS, OSError) as error:
        if untrusted := untrusted_certificate(error, f"the {name}"):
            raise _refused(
                name, f"{untrusted.message}: {untrusted.found}; {untrusted.hint}"
            ) from None
        if not _may_have_arrived(error):
            raise _refused(name, type(error).__name__) from None
        raise UnconfirmedDeliveryError(
            f"it is unknown whether the {name} received an alert",
            found=type(error).__name__,
            expected=f"an answer within {TIMEOUT_S:.0f} seconds",
            hint=f"look there; if it happens again, check RECSYS_ALERT_{name.upper()}_URL",
        ) from None
    if not 200 <= response.status_code < 300:
        raise _refused(name, f"HTTP {response.status_code}")


def _may_have_arrived(error: Exception) -> bool:
    """Returns whether the connection was established before the error occurred."""
    if isinstance(error, requests.ReadTimeout | requests.exceptions.ChunkedEncodingError):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(error, requests.ConnectionError) and isinstance(
        cause, ProtocolError | ReadTimeoutError
    )


def _refused(name: str, found: str) -> ServiceUnavailableError:
    # The URL is a secret, so neither it nor the library's message, which contains it, is shown.
    return ServiceUnavailableError(
        f"the {name} did not accept an alert",
        found=found,
        hint=f"check RECSYS_ALERT_{name.upper()}_URL; `recsys alerts --test` tries again",
    )


def _smtp(scheme: str, host: str, port: int | None) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if scheme == "smtps":
        return smtplib.SMTP_SSL(host, port or 465, timeout=TIMEOUT_S, context=context)
    smtp = smtplib.SMTP(host, port or 25, timeout=TIMEOUT_S)
    smtp.ehlo()
    if smtp.has_extn("starttls"):
        smtp.starttls(context=context)
    return smtp
