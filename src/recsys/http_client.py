"""HTTP sessions: what this project needs of `requests` beyond its defaults, in one place."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import ssl
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import (
    get_auth_from_url,
    get_environ_proxies,
    select_proxy,
)
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import Retry, parse_url

from recsys.errors import ConfigurationError
from recsys.object_store import EXPECTED_AUTHORITIES, InvalidAuthoritiesError, trusted_file

_PORT: Final = re.compile(r"\](:\d*)?\Z")
_CLOCK: Final = {9, 10}
_NAME: Final = {62, 63, 64}
"""OpenSSL's numbers: a certificate is not valid yet or no more, or is that of another host."""

TRANSPORT_ERRORS = (requests.RequestException, HTTPError)
"""All errors of a request. `requests` does not translate those of a body that is read raw."""


class Credentials(Protocol):
    """Credentials for one server."""

    def tls_options(self) -> dict[str, Any]:
        """Arguments of `requests` for the certificates of server and client."""

    def serve(self, url: str) -> bool:
        """Whether they may be sent to a URL."""

    def request_headers(self) -> dict[str, str]:
        """The headers that carry them."""


def open_session(
    *,
    connect_attempts: int = 1,
    use_environment: bool = True,
    credentials: Credentials | None = None,
) -> requests.Session:
    """Opens a session with the credentials of the URL; close it, or use it in a ``with``.

    Args:
        connect_attempts: maximum attempts to connect for each request. Nothing has been sent when
            connecting fails, so repeating it is always safe.
        use_environment: whether proxies (``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY``,
            ``NO_PROXY``) and certificate authorities (``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE``,
            ``SSL_CERT_FILE``, ``SSL_CERT_DIR``) are taken from the environment.
        credentials: sent to their server if the URL has none, and not after a redirect to another.
    """
    # urllib3 logs the paths and queries of URLs, which may contain secrets: at DEBUG for each
    # request, at WARNING for each repeated connection.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    session = _Session(credentials)
    session.trust_env = use_environment
    session.auth = _Authentication(credentials)
    if use_environment:
        session.verify = _authorities()
    retries = Retry(
        total=None,
        connect=connect_attempts - 1,
        read=False,
        redirect=False,
        status=0,
        other=0,
        backoff_factor=0.25,
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(credentials, retries))
    return session


def check_proxy(url: str) -> None:
    """Checks the proxy that the environment sets for a URL.

    Raises:
        ConfigurationError: the proxy's URL is malformed, or its scheme is not http or https. The
            message does not contain the URL, because that may contain a password.
    """
    proxy = None if _is_local(url) else select_proxy(url, _with_scheme(get_environ_proxies(url)))
    if not proxy:
        return
    try:
        parsed = parse_url(proxy)
        found = f"scheme {parsed.scheme}" if parsed.host else "a URL without a host"
        is_usable = parsed.scheme in ("http", "https") and bool(parsed.host)
    except LocationParseError:
        found, is_usable = "a malformed URL", False
    if not is_usable:
        raise ConfigurationError(
            "the proxy in the environment cannot be used",
            found=found,
            expected="http://host:port",
            hint="correct HTTP_PROXY, HTTPS_PROXY or ALL_PROXY, or add the host to NO_PROXY",
        )


def check_certificates() -> None:
    """Checks the certificate authorities that the environment names.

    Raises:
        ConfigurationError: there is no such file or folder, or it holds no certificate.
    """
    try:
        trusted_file()
    except InvalidAuthoritiesError as error:
        raise _invalid_authorities(error.variable, error) from error


def check_bundle(name: str, path: str) -> None:
    """Checks a bundle of certificate authorities.

    Args:
        name: the setting that names it.
        path: the file or folder.

    Raises:
        ConfigurationError: there is no such file or folder, or it holds no certificate.
    """
    try:
        trusted_file(path)
    except InvalidAuthoritiesError as error:
        raise _invalid_authorities(name, error) from error


def _invalid_authorities(name: str, error: InvalidAuthoritiesError) -> ConfigurationError:
    return ConfigurationError(
        f"{name} names no bundle of certificate authorities",
        found=error.found,
        expected=EXPECTED_AUTHORITIES,
        hint=f"correct {name}, or unset it to use the built-in authorities",
    )


def _authorities() -> str | bool:
    try:
        return trusted_file() or True
    except InvalidAuthoritiesError as error:
        # Requests fails with it if a server needs certificates.
        return error.path


def untrusted_certificate(error: BaseException, server: str) -> ConfigurationError | None:
    """Returns the error of a server whose certificate is not accepted; None for other errors.

    Args:
        error: the error of a request.
        server: the server's name, without secrets.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = _inner_error(cause)
    if cause is None:
        return None
    if cause.verify_code in _CLOCK:
        hint = "correct the clock of this machine, or have the server's certificate renewed"
    elif cause.verify_code in _NAME:
        hint = "use the name that the certificate has, in the address"
    else:
        hint = (
            "name a file with the certificate of its authority in REQUESTS_CA_BUNDLE or "
            "SSL_CERT_FILE, or a folder of such files in SSL_CERT_DIR; companies that inspect "
            "TLS have an authority of their own"
        )
    return ConfigurationError(
        f"the certificate of {server} is not trusted", found=cause.verify_message, hint=hint
    )


def describe_error(error: BaseException) -> str:
    """Describes the innermost cause of a request's error: the outer ones contain the whole URL."""
    cause = error
    while inner := _inner_error(cause):
        cause = inner
    text = cause.args[0] if cause.args and isinstance(cause.args[0], str) else str(cause)
    return f"{type(cause).__name__}: {text}"


def _inner_error(error: BaseException) -> Exception | None:
    inside = (getattr(error, "reason", None), getattr(error, "original_error", None), *error.args)
    return next((one for one in inside if isinstance(one, Exception)), None)


def _is_local(url: str) -> bool:
    """Whether ``NO_PROXY`` names a host in a way that requests ignores.

    That is an address or network of IPv6, and ``*.domain``.
    """
    host = (urlsplit(url).hostname or "").rstrip(".")
    for entry in re.split(
        r"[\s,]+", os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    ):
        if entry.startswith("*.") and host.endswith(entry[1:].lower()):
            return True
        network = ipv6_network(entry)
        if network is not None and ":" in host and _address(host) in network:
            return True
    return False


def ipv6_network(entry: str) -> ipaddress.IPv6Network | None:
    """Returns the network that an entry of ``NO_PROXY`` names, or None if it is none of IPv6.

    Brackets, a scheme and a port are ignored.
    """
    text = _PORT.sub("]", entry.rpartition("://")[2]).replace("[", "").replace("]", "")
    try:
        return ipaddress.IPv6Network(text, strict=False)
    except ValueError:
        return None


def _address(host: str) -> ipaddress.IPv6Address:
    return ipaddress.IPv6Address(host.partition("%")[0])


def _with_scheme(proxies: Mapping[str, str]) -> dict[str, str]:
    """Adds ``http://`` where it is missing: `requests` takes the host of ``proxy:3128`` for it."""
    return {
        kind: proxy if "://" in proxy else f"http://{proxy}"
        for kind, proxy in proxies.items()
        # Lists of hosts: requests reads these variables itself.
        if kind not in ("no", "no_proxy")
    }


class _Authentication(AuthBase):
    """Basic authentication with the credentials in the URL, in UTF-8; else those of the session.

    As the session's own authentication it also keeps `requests` from reading ``~/.netrc``, which
    would take precedence over the URL.
    """

    def __init__(self, credentials: Credentials | None) -> None:
        self._credentials = credentials

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        user, password = get_auth_from_url(request.url or "")
        if not user and not password:
            if self._credentials is not None and self._credentials.serve(request.url or ""):
                request.headers.update(self._credentials.request_headers())
            return request
        return HTTPBasicAuth(user.encode(), password.encode())(request)


class _Adapter(HTTPAdapter):
    """Uses the certificates of the credentials with their server only."""

    def __init__(self, credentials: Credentials | None, retries: Retry) -> None:
        super().__init__(max_retries=retries)
        self._credentials = credentials

    def send(
        self, request: requests.PreparedRequest, *args: Any, **options: Any
    ) -> requests.Response:
        """Sends a request, which may be the target of a redirect."""
        if self._credentials is not None and self._credentials.serve(request.url or ""):
            options |= self._credentials.tls_options()
        return super().send(request, *args, **options)


class _Session(requests.Session):
    """A session that applies the rules above to redirects, too."""

    def __init__(self, credentials: Credentials | None = None) -> None:
        super().__init__()
        secret = credentials.request_headers() if credentials is not None else {}
        self._secret_headers = {"Authorization", *secret}

    def merge_environment_settings(self, *args: Any, **options: Any) -> Any:
        """Completes the URLs of the environment's proxies."""
        settings = super().merge_environment_settings(*args, **options)
        if self.trust_env and settings["verify"] is not False:
            # Requests prefers what its own variables name, which may be a folder.
            settings["verify"] = self.verify
        url = args[0] if args else options["url"]
        is_local = self.trust_env and _is_local(url)
        settings["proxies"] = {} if is_local else _with_scheme(settings["proxies"])
        return settings

    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        """Removes credentials that the new host must not get; adds none from ``~/.netrc``."""
        old, new = response.request.url or "", prepared_request.url or ""
        if self.should_strip_auth(old, new):
            for name in self._secret_headers:
                prepared_request.headers.pop(name, None)

    def rebuild_proxies(
        self, prepared_request: requests.PreparedRequest, proxies: dict[str, str] | None
    ) -> dict[str, str]:
        """Chooses the proxy anew: given the first one, `requests` would ignore ``NO_PROXY``."""
        if self.trust_env and _is_local(prepared_request.url or ""):
            return {}
        return _with_scheme(super().rebuild_proxies(prepared_request, {}))
