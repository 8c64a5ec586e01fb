"""Credentials of a dataset's web server, which are kept out of the source's URL."""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys.dataset.mirrors import web_servers
from recsys.dataset.settings import DEFAULT_SOURCE
from recsys.errors import ConfigurationError, first_invalid_field

log = logging.getLogger(__name__)

_PORTS: Final = {"http": 80, "https": 443}
_OF_THE_DOWNLOAD: Final = {"accept-encoding", "cache-control", "if-range", "range"}
"""Headers that the download sets itself: others would make the md5 differ."""


@dataclass(frozen=True)
class SourceCredentials:
    """Credentials that are sent to one server only.

    Make them with `credentials_for`, which checks them.

    Attributes:
        name: where they come from, for messages.
        server: ``https://host``, ``https://host:port``, or ``//host`` for http and https.
        headers: the headers of a request that carry them.
        verify: false, or the file of the certificate authorities that are trusted; None: as the
            environment says.
        certificate: file of the client's certificate and key, or one file of each.
    """

    name: str
    server: str
    headers: Mapping[str, SecretStr] = field(repr=False)
    verify: bool | str | None = None
    certificate: str | tuple[str, str] | None = None

    def serve(self, url: str) -> bool:
        """Returns whether they may be sent to a URL: scheme, host and port are the server's."""
        scheme, host, port = _address(url)
        own_scheme, own_host, own_port = _address(self.server)
        if scheme not in _PORTS or own_scheme not in ("", scheme) or host != own_host:
            return False
        return (port or _PORTS[scheme]) == (own_port or _PORTS[scheme])

    def request_headers(self) -> dict[str, str]:
        """Returns the headers with their values."""
        return {name: value.get_secret_value() for name, value in self.headers.items()}

    def tls_options(self) -> dict[str, object]:
        """Returns the arguments of `requests` for the certificates of server and client."""
        verify = {} if self.verify is None else {"verify": self.verify}
        return {**verify, "cert": self.certificate}


def credentials_for(
    name: str,
    server: str,
    *,
    user: str | None = None,
    password: str | None = None,
    headers: Mapping[str, object] | None = None,
    verify: bool | str | None = None,
    certificate: str | tuple[str, str] | None = None,
) -> SourceCredentials:
    """Makes credentials for a server.

    Args:
        name: where they come from, for messages.
        server: see `SourceCredentials`; a path is ignored, as are credentials in it.
        user: for basic authentication, which replaces a header ``Authorization``.
        password: for basic authentication.
        headers: further headers; those without a value are not sent.
        verify: see `SourceCredentials`.
        certificate: see `SourceCredentials`.

    Raises:
        ConfigurationError: the address or a header is invalid, or a file of certificates is
            missing. The message has no secret.
    """
    from recsys.http_client import check_bundle

    if isinstance(verify, str):
        check_bundle(f"verify of {name}", verify)
    for path in (certificate,) if isinstance(certificate, str) else certificate or ():
        if not Path(path).is_file():
            raise ConfigurationError(
                f"{name} names a certificate that does not exist", found=path, hint="correct cert"
            )
    made = {
        header: SecretStr(_checked_header(name, header, value))
        for header, value in (headers or {}).items()
        if value is not None and header.lower() not in _OF_THE_DOWNLOAD
    }
    if user:
        encoded = base64.b64encode(f"{user}:{password or ''}".encode()).decode()
        made = {
            header: value for header, value in made.items() if header.lower() != "authorization"
        }
        made["Authorization"] = SecretStr(f"Basic {encoded}")
    return SourceCredentials(name, _checked_server(name, server), made, verify, certificate)


class _Variables(BaseSettings):
    """Credentials of the command line: ``RECSYS_SOURCE_*``."""

    model_config = SettingsConfigDict(
        env_prefix="RECSYS_SOURCE_", env_ignore_empty=True, hide_input_in_errors=True
    )

    user: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None


def environment_credentials(source: str) -> SourceCredentials | None:
    """Returns the credentials of the command line for a source, or None.

    ``RECSYS_SOURCE_USER`` and ``RECSYS_SOURCE_PASSWORD``, or ``RECSYS_SOURCE_TOKEN``, are for the
    first web server of the source. Without them, the account's netrc file is searched for each of
    its web servers; its entry ``default`` names no server and is not used. The public default
    source gets nothing.

    Raises:
        ConfigurationError: the variables contradict each other, or cannot be sent.
    """
    servers = [] if source == DEFAULT_SOURCE else web_servers(source)
    if not servers:
        return None
    try:
        variables = _Variables()
    except ValidationError as error:
        raise _contradiction(str(first_invalid_field(error))) from None
    user, password, token = variables.user, variables.password, variables.token
    if token and (user or password):
        raise _contradiction("both a token and a login")
    if password and not user:
        raise _contradiction("a password without a user")
    if token:
        bearer = {"Authorization": f"Bearer {token.get_secret_value()}"}
        return credentials_for("RECSYS_SOURCE_TOKEN", servers[0], headers=bearer)
    if user:
        secret = password.get_secret_value() if password else ""
        return credentials_for("RECSYS_SOURCE_USER", servers[0], user=user, password=secret)
    return next(filter(None, map(_netrc_credentials, servers)), None)


def _contradiction(found: str) -> ConfigurationError:
    return ConfigurationError(
        "the credentials of the dataset's source are invalid",
        found=found,
        expected="RECSYS_SOURCE_USER and RECSYS_SOURCE_PASSWORD, or RECSYS_SOURCE_TOKEN",
        hint="set one of them, and unset the other",
    )


def _netrc_credentials(server: str) -> SourceCredentials | None:
    """Returns what the netrc file has for a server's host.

    `requests.utils.get_netrc_auth` would also return the login of the entry ``default``.
    """
    from netrc import NetrcParseError, netrc

    named = os.environ.get("NETRC")
    paths = [named] if named else [os.path.expanduser(f"~/{name}") for name in (".netrc", "_netrc")]
    path = next((path for path in paths if Path(path).is_file()), None)
    if path is None:
        return None
    try:
        entry = netrc(path).hosts.get(urlsplit(server).hostname or "")
    # The error's text may contain a password.
    except (NetrcParseError, OSError, ValueError):
        log.warning("%s cannot be read, or is no netrc file; it is not used", path)
        return None
    if entry is None:
        return None
    login, _, password = entry
    return credentials_for(path, server, user=login, password=password)


def _address(url: str) -> tuple[str, str, int | None]:
    """Returns scheme, host and port in the form in which `requests` sends them."""
    import requests

    scheme, separator, rest = url.partition("//")
    request = requests.PreparedRequest()
    # It also makes ASCII of an international name, and lower case of all letters.
    request.prepare_url(f"{scheme or 'http:'}{separator}{rest}", None)
    parts = urlsplit(request.url or "")
    return parts.scheme if scheme else "", parts.hostname or "", parts.port


def _checked_server(name: str, server: str) -> str:
    import requests

    try:
        parts = urlsplit(server)
        shown = f"{parts.scheme.lower()}:" if parts.scheme else ""
        checked = f"{shown}//{parts.netloc.rpartition('@')[2]}"
        if parts.scheme.lower() not in ("", *_PORTS) or not _address(checked)[1]:
            raise ValueError(server)
    # The error's text contains the address, and so perhaps a password.
    except (ValueError, requests.RequestException):
        raise ConfigurationError(
            f"{name} has no valid address of a web server",
            expected="https://host or https://host:port",
            hint="correct the host",
        ) from None
    return checked


def _checked_header(name: str, header: str, value: object) -> str:
    """Returns the value, unless `requests` would refuse it with a message that contains it."""
    import requests
    from requests.utils import check_header_validity

    try:
        if not isinstance(value, str):
            raise TypeError
        check_header_validity((header, value))
        value.encode("latin-1")
    except (requests.exceptions.InvalidHeader, TypeError, UnicodeError):
        raise ConfigurationError(
            f"{name} has a header that cannot be sent",
            found=header,
            expected="text without line breaks, and without blanks at its start",
            hint="correct the value",
        ) from None
    return value
