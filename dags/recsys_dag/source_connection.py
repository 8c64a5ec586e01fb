"""Credentials of the dataset's web server, from an optional Airflow Connection.

Its fields mean what they mean to Airflow's `HttpHook`; tests/e2e/test_source_connection.py compares
with the hook.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from recsys.dataset import (
    FetchSettings,
    SourceCredentials,
    credentials_for,
    web_servers,
)
from recsys.errors import ConfigurationError
from recsys_dag.connections import find_connection
from recsys_dag.masking import SOURCE_CONN_ID, mask

if TYPE_CHECKING:
    from airflow.sdk import Connection

log = logging.getLogger(__name__)

_VERIFY: Final = ("verify", "verify_ssl")
_WORDS: Final = {"false": False, "true": True}
_NOT_USED: Final = {
    *("allow_redirects", "check_response", "max_redirects", "proxies", "proxy"),
    *("srv_lookup", "stream", "timeout", "trust_env"),
}
"""Fields that say how the hook sends requests; here, RECSYS_FETCH_* and HTTP_PROXY do."""


def fetch_settings(source: str, conn_id: str = SOURCE_CONN_ID) -> FetchSettings:
    """Returns timeouts and credentials of a source: ``RECSYS_FETCH_*``, and its Connection.

    The Connection is read only if the source is on a web server.

    Args:
        source: the dataset, or several mirrors.
        conn_id: the Connection.

    Raises:
        ConfigurationError: a variable or the Connection is invalid.
    """
    settings = FetchSettings.from_environment()
    connection = find_connection(conn_id) if web_servers(source) else None
    return settings.with_credentials(_credentials(connection) if connection else None)


def _credentials(connection: Connection) -> SourceCredentials:
    """Returns the credentials; each field of the extra is a header, unless it is an option."""
    extra: dict[str, Any] = connection.extra_dejson
    if not isinstance(extra, dict):
        raise _invalid(connection, "extra is not a JSON object")
    login, password = connection.login, connection.password
    in_host = urlsplit(_server(connection))
    if not login and in_host.username:
        login, password = unquote(in_host.username), unquote(in_host.password or "")
    unused = sorted(_NOT_USED & extra.keys())
    if password and not login:
        unused.append("password without a login")
    if unused:
        log.warning("%s: not used for datasets: %s", _name(connection), ", ".join(unused))
    verify = next((extra[name] for name in _VERIFY if extra.get(name) is not None), None)
    if isinstance(verify, str):
        verify = _WORDS.get(verify.lower(), verify)
    certificate = extra.get("cert")
    made = credentials_for(
        _name(connection),
        _server(connection),
        user=login,
        password=password,
        headers={
            name: value
            for name, value in extra.items()
            if name not in _NOT_USED and name not in (*_VERIFY, "cert")
        },
        verify=verify,
        certificate=tuple(certificate) if isinstance(certificate, list) else certificate,
    )
    for value in made.request_headers().values():
        # A token is also hidden without its scheme, as in "Bearer ...".
        mask([value, value.rpartition(" ")[2]])
    return made


def _server(connection: Connection) -> str:
    """Returns the address. Without a scheme it is that of http and of https.

    The hook's default is http. The type "https" is what Airflow makes of the URI ``https://host``.
    """
    host = connection.host or ""
    if "://" not in host:
        scheme = connection.schema or ("https" if connection.conn_type == "https" else "")
        host = f"{scheme}://{host}" if scheme else f"//{host}"
    try:
        parts = urlsplit(host)
        if not parts.hostname:
            raise _invalid(connection, "no host")
        if connection.port and parts.port is None:
            parts = parts._replace(netloc=f"{parts.netloc}:{connection.port}")
    except ValueError:
        raise _invalid(connection, "a host that is no address") from None
    return parts.geturl()


def _name(connection: Connection) -> str:
    return f"the Airflow Connection {connection.conn_id}"


def _invalid(connection: Connection, found: str) -> ConfigurationError:
    return ConfigurationError(
        f"{_name(connection)} is invalid",
        found=found,
        expected="the web server's host, and a login and password or headers in the extra",
        hint="edit the Connection in Airflow's UI, under Admin, Connections",
    )
