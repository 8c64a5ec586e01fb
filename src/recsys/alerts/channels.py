"""Ways to tell people: Slack, a plain webhook, e-mail. Each tells one alert or raises."""

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

from recsys.alerts.settings import AlertSettings, Kind
from recsys.errors import ConfigurationError, ServiceUnavailableError
from recsys.http_client import TRANSPORT_ERRORS, open_session

TIMEOUT_S: Final = 10.0
SIGNATURE: Final = "X-Recsys-Signature"


@dataclass(frozen=True)
class Alert:
    """One thing that people should know.

    Attributes:
        event: names the event in this pipeline's ledger.
        key: names it among the events of all pipelines, for ever; receivers may drop a repetition
            by it.
        kind: what it is about.
        title: a sentence.
        facts: what is known of it, in the order to be shown.
        link: where to look; empty: nowhere in particular.
    """

    event: str
    key: str
    kind: Kind
    title: str
    facts: Mapping[str, str] = field(default_factory=dict)
    link: str = ""

    @property
    def text(self) -> str:
        """The alert in plain lines."""
        lines = [self.title, *(f"{name}: {value}" for name, value in self.facts.items())]
        return "\n".join([*lines, self.link] if self.link else lines)


class UnansweredError(ServiceUnavailableError):
    """The alert was on its way when the connection broke: it may have arrived."""


class Channel(Protocol):
    """Somewhere to tell alerts."""

    @property
    def name(self) -> str:
        """Names the channel in the ledger."""

    @property
    def knows_repetitions(self) -> bool:
        """Whether receivers can tell by a name sent along that they had the alert before."""

    def send(self, alert: Alert) -> None:
        """Tells it.

        Raises:
            ServiceUnavailableError: the receiver did not take it.
            UnansweredError: nobody knows whether the receiver took it.
        """


@dataclass(frozen=True)
class Slack:
    """An incoming webhook of Slack, or of what speaks like it."""

    url: str = field(repr=False)
    name: str = "slack"
    knows_repetitions: bool = False

    def send(self, alert: Alert) -> None:
        """Posts the alert's lines."""
        # Slack reads <, > and & as markup: text from outside must not become a link.
        text = alert.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        _post(self.name, self.url, json.dumps({"text": text}).encode(), {})


@dataclass(frozen=True)
class Webhook:
    """Any receiver of JSON: the alert's fields, and a signature where there is a key."""

    url: str = field(repr=False)
    key: str | None = field(default=None, repr=False)
    name: str = "webhook"
    knows_repetitions: bool = True

    def send(self, alert: Alert) -> None:
        """Posts the alert's fields."""
        body = json.dumps(asdict(alert), default=str).encode()
        headers = {"Idempotency-Key": alert.key}
        if self.key:
            headers[SIGNATURE] = hmac.new(self.key.encode(), body, hashlib.sha256).hexdigest()
        _post(self.name, self.url, body, headers)


@dataclass(frozen=True)
class Email:
    """A mail to each address, by way of one SMTP server."""

    url: str = field(repr=False)
    sender: str
    receivers: tuple[str, ...]
    name: str = "email"
    knows_repetitions: bool = True

    def send(self, alert: Alert) -> None:
        """Sends one message to all receivers."""
        message = EmailMessage()
        # A line break in a header is refused by the library; titles hold names from outside.
        message["Subject"] = f"[recsys] {' '.join(alert.title.split())}"
        message["From"] = self.sender
        message["To"] = ", ".join(self.receivers)
        message["Date"] = formatdate(localtime=True)
        message["Message-ID"] = f"<{hashlib.sha256(alert.key.encode()).hexdigest()}@recsys>"
        # Keeps absence notes from being sent in answer (RFC 3834).
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(alert.text + "\n")
        server = urlsplit(self.url)
        try:
            port = server.port
        except ValueError:
            raise ConfigurationError(
                "the port in RECSYS_ALERT_SMTP_URL makes no sense", expected="a number"
            ) from None
        try:
            with _smtp(server.scheme, server.hostname or "localhost", port) as smtp:
                if server.username:
                    smtp.login(unquote(server.username), unquote(server.password or ""))
                smtp.send_message(message)
        except (OSError, smtplib.SMTPException) as error:
            raise ServiceUnavailableError(
                "the mail server did not take an alert",
                found=f"{type(error).__name__}: {error}",
                hint="check RECSYS_ALERT_SMTP_URL; `recsys alerts --test` tries again",
            ) from error


def configured_channels(settings: AlertSettings) -> list[Channel]:
    """The channels that have an address.

    Raises:
        ConfigurationError: there is a mail server and nobody to write to.
    """
    made: list[Channel] = []
    if settings.slack_url:
        made.append(Slack(settings.slack_url.get_secret_value()))
    if settings.webhook_url:
        key = settings.webhook_key.get_secret_value() if settings.webhook_key else None
        made.append(Webhook(settings.webhook_url.get_secret_value(), key))
    if settings.smtp_url:
        if not settings.email_to:
            raise ConfigurationError(
                "there is a mail server for alerts and nobody to write to",
                expected="addresses in RECSYS_ALERT_EMAIL_TO, divided by commas",
            )
        url = settings.smtp_url.get_secret_value()
        made.append(Email(url, settings.email_from, settings.email_to))
    return made


def ping(url: str) -> None:
    """Says to a heartbeat service that all is well.

    Raises:
        ServiceUnavailableError: it did not answer.
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
    except TRANSPORT_ERRORS as error:
        if not _may_have_arrived(error):
            raise _refused(name, type(error).__name__) from None
        raise UnansweredError(
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
    # Neither the URL nor the library's message, which holds it: it is a secret.
    return ServiceUnavailableError(
        f"the {name} did not take an alert",
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
