"""The Airflow Connection of the source: it is used as by Airflow's hook, and leaves no trace."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from recsys.dataset import read_source_md5
from recsys.errors import ConfigurationError
from tests.e2e.conftest import Pipeline
from tests.web_server import MD5, Web, serving

VARIABLE = "AIRFLOW_CONN_RECSYS_SOURCE"
LOGIN = {"login": "ann", "password": "s3cret:p@ss/word"}
BASIC = "Basic YW5uOnMzY3JldDpwQHNzL3dvcmQ="
HIDDEN = ("s3cret:p@ss/word", "s3cret%3Ap%40ss%2Fword", BASIC.partition(" ")[2], "t0ken-of-ann")
ADDRESS = {"conn_type": "http", "host": "127.0.0.1", "port": 0}
# PORT is that of the web server.
CONNECTIONS: dict[str, dict[str, Any] | str] = {
    "login": {**ADDRESS, **LOGIN, "schema": "http"},
    "no-scheme": {**ADDRESS, **LOGIN},
    "host-with-scheme": {"conn_type": "http", "host": "http://127.0.0.1", "port": 0, **LOGIN},
    "host-is-a-url": {"conn_type": "http", "host": "http://127.0.0.1:PORT", **LOGIN},
    "login-in-the-host": {"conn_type": "http", "host": "http://ann:s3cret@127.0.0.1:PORT"},
    "uri": "http://ann:s3cret%3Ap%40ss%2Fword@127.0.0.1:PORT/http",
    "uri-with-a-header": "http://127.0.0.1:PORT/http?X-Api-Key=t0ken-of-ann",
    "bearer": {**ADDRESS, "extra": {"Authorization": "Bearer t0ken-of-ann"}},
    "headers": {**ADDRESS, **LOGIN, "extra": {"X-Api-Key": "t0ken-of-ann", "User-Agent": "us"}},
    "login-and-header": {**ADDRESS, **LOGIN, "extra": {"authorization": "Bearer t0ken-of-ann"}},
    "options": {
        **ADDRESS,
        **LOGIN,
        "extra": {
            "verify": False,
            "timeout": 9,
            "check_response": True,
            "X-Api-Key": "t0ken-of-ann",
        },
    },
    "null": {**ADDRESS, **LOGIN, "extra": {"X-Api-Key": None}},
    "password-without-login": {**ADDRESS, "password": "s3cret:p@ss/word"},
    "address-only": {**ADDRESS},
}
OF_THE_DOWNLOAD = ("Accept-Encoding", "Cache-Control")


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("NETRC", "/nowhere")
    with serving() as site:
        yield site


def connect(monkeypatch: pytest.MonkeyPatch, web: Web, connection: dict[str, Any] | str) -> None:
    port = urlsplit(web.address).port
    if isinstance(connection, dict):
        connection = json.dumps(connection | ({"port": port} if "port" in connection else {}))
    monkeypatch.setenv(VARIABLE, connection.replace("PORT", str(port)))


def sent(web: Web) -> dict[str, str]:
    """The headers of the last request, without those that belong to every download."""
    _, headers = web.received[-1]
    return {name.title(): headers[name] for name in headers if name not in OF_THE_DOWNLOAD}


@pytest.mark.parametrize("name", CONNECTIONS)
def test_the_server_gets_what_airflows_hook_sends(
    name: str, web: Web, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow.providers.http.hooks.http import HttpHook

    from recsys_dag.source_connection import fetch_settings

    source = web.publish()
    connect(monkeypatch, web, CONNECTIONS[name])
    HttpHook(method="GET", http_conn_id="recsys_source").run("/ml.zip.md5")
    by_the_hook = sent(web)
    assert read_source_md5(source, settings=fetch_settings(source)) == MD5
    assert sent(web) == by_the_hook
    assert not any(secret in caplog.text for secret in HIDDEN)


@pytest.mark.parametrize(
    "connection",
    [
        {**ADDRESS, **LOGIN, "schema": "https"},
        {"conn_type": "https", "host": "127.0.0.1", "port": 0, **LOGIN},
        "https://ann:s3cret@127.0.0.1:PORT",
        {"conn_type": "http", "host": "https://127.0.0.1", "port": 0, **LOGIN},
        {**ADDRESS, **LOGIN, "host": "localhost"},
        {"conn_type": "http", "host": "127.0.0.1", **LOGIN},
    ],
)
def test_no_other_scheme_host_or_port_gets_it(
    web: Web, monkeypatch: pytest.MonkeyPatch, connection: dict[str, Any] | str
) -> None:
    from recsys_dag.source_connection import fetch_settings

    source = web.publish()
    connect(monkeypatch, web, connection)
    assert read_source_md5(source, settings=fetch_settings(source)) == MD5
    assert "Authorization" not in sent(web)


@pytest.mark.parametrize(
    ("connection", "found"),
    [
        ({"conn_type": "http", **LOGIN}, "no host"),
        ({"conn_type": "http", "host": "http://[::1", **LOGIN}, "no address"),
        ({**ADDRESS, "schema": "ftp", **LOGIN}, "no valid address"),
        ({**ADDRESS, "extra": {"X-Api-Key": 7}}, "X-Api-Key"),
        ({**ADDRESS, "extra": {"X-Api-Key": "t0ken-of-ann\nHost: x"}}, "X-Api-Key"),
        ({**ADDRESS, "extra": ["t0ken-of-ann"]}, "no valid JSON object|not a JSON object"),
    ],
)
def test_an_invalid_connection_is_an_error_without_its_secrets(
    web: Web,
    monkeypatch: pytest.MonkeyPatch,
    connection: dict[str, Any],
    found: str,
    tmp_path: Path,
) -> None:
    from recsys_dag.source_connection import fetch_settings

    connect(monkeypatch, web, connection)
    with pytest.raises(ConfigurationError, match=found) as refused:
        fetch_settings(web.publish())
    assert "recsys_source" in str(refused.value)
    assert not any(secret in str(refused.value) for secret in HIDDEN)
    # Files and S3 do not need it.
    for source in (str(tmp_path / "ml.zip"), "s3://bucket/ml.zip"):
        assert fetch_settings(source).credentials is None


def test_without_a_connection_nothing_is_sent(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    from recsys_dag.source_connection import fetch_settings

    monkeypatch.delenv(VARIABLE, raising=False)
    # Those of the command line: a Param could name any server.
    monkeypatch.setenv("RECSYS_SOURCE_USER", "ann")
    source = web.publish()
    assert fetch_settings(source).credentials is None
    assert read_source_md5(source, settings=fetch_settings(source)) == MD5
    assert "Authorization" not in sent(web)


def test_the_watcher_reads_the_md5_with_the_connection(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recsys_dag.triggers import ConnectionIds, Md5Looks

    source, web.wanted = web.publish(), {"Authorization": BASIC}
    connect(monkeypatch, web, CONNECTIONS["login"])
    assert asyncio.run(Md5Looks(source, 1, ConnectionIds()).read()) == MD5
    monkeypatch.delenv(VARIABLE)
    assert asyncio.run(Md5Looks(source, 1, ConnectionIds()).read()) is None


def test_a_run_uses_it_and_leaves_no_trace_of_it(
    pipeline: Pipeline, web: Web, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The zip has no valid ratings, so that the run ends before a training."""
    caplog.set_level(logging.DEBUG)
    source, web.wanted = web.publish(), {"Authorization": BASIC, "X-Api-Key": "t0ken-of-ann"}
    extra = {"X-Api-Key": "t0ken-of-ann"}
    connect(monkeypatch, web, {**ADDRESS, **LOGIN, "extra": extra})
    outcome = pipeline.run(source)
    assert outcome.ran("fetch_dataset"), outcome.errors
    assert outcome.tasks["generate_data_frames"] == "failed"
    assert {path for path, _ in web.received} == {"/ml.zip.md5", "/ml.zip"}
    with pipeline.services.connect() as conn:
        ledger = conn.execute(
            "select (select json_agg(h)::text from recsys.history h)"
            " || (select json_agg(r)::text from recsys.releases r)"
        ).fetchone()
    assert ledger is not None
    files = Path(os.environ["AIRFLOW_HOME"]).rglob("*")
    stored = b"".join(path.read_bytes() for path in files if path.is_file())
    places = [str(ledger), str(outcome), caplog.text, stored.decode(errors="replace")]
    assert MD5 in places[0]
    assert source in places[2]
    assert source in places[3]
    for place in places:
        assert [secret for secret in HIDDEN if secret in place] == []
