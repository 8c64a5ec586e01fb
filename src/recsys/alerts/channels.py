"""Ways to tell people: Slack, a plain webhook, e-mail. Each tells one alert or raises."""

from __future__ import annotations

import hashlib
import hmac
import json
import smtplib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from email.message import EmailMessage
from email.utils import formatdate
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

import httpx

from recsys.alerts.settings import AlertSettings, Kind
from recsys.errors import ConfigurationError, ServiceUnavailableError

TIMEOUT_S: Final = 10.0
SIGNATURE: Final = "X-Recsys-Signature"
_CUT_SHORT: Final = (
    httpx.ReadError,
    httpx.WriteError,
    httpx.ReadTimeout,
    httpx.WriteTimeout,
    httpx.RemoteProtocolError,
)
"""All that can happen once a connection stands; what happens before was certainly not heard."""


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
    _request("heartbeat", lambda: httpx.get(url, timeout=TIMEOUT_S))


def _post(name: str, url: str, body: bytes, headers: Mapping[str, str]) -> None:
    headers = {"Content-Type": "application/json", **headers}
    _request(name, lambda: httpx.post(url, content=body, headers=headers, timeout=TIMEOUT_S))


def _request(name: str, ask: Callable[[], httpx.Response]) -> None:
    try:
        answer = ask()
    except _CUT_SHORT as error:
        raise UnansweredError(
            f"nobody knows whether the {name} took an alert",
            found=type(error).__name__,
            expected=f"an answer within {TIMEOUT_S:.0f} seconds",
            hint=f"look there; if it stays so, check RECSYS_ALERT_{name.upper()}_URL",
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _refused(name, type(error).__name__) from None
    if not answer.is_success:
        raise _refused(name, f"HTTP {answer.status_code}")


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
