"""HTTP sessions: whose credentials they send, which proxy they use, what they log."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest
import requests
import urllib3.util.connection

from recsys.errors import ConfigurationError
from recsys.http_client import TRANSPORT_ERRORS, check_proxy, describe_error, open_session
from tests.web_server import Answer, Web

ELSEWHERE = "http://files.example.invalid"


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password for every host in the account's netrc file."""
    path = tmp_path / "netrc"
    path.write_text("default login eve password fr0m-netrc\n")
    monkeypatch.setenv("NETRC", str(path))


def sent(response: requests.Response) -> str | None:
    return response.request.headers.get("Authorization")


def test_credentials_come_from_the_url_and_never_from_netrc(web: Web, netrc: None) -> None:
    web.answers["/x"] = Answer(b"x")
    web.answers["/moved"] = Answer(status=302, location="/x")
    with open_session() as session:
        assert sent(session.get(f"{web.address}/x")) is None
        assert sent(session.get(f"{web.address}/moved")) is None
        with_credentials = web.address.replace("//", "//ann:s%C3%A9cret@")
        # base64 of "ann:sécret" in UTF-8.
        assert sent(session.get(f"{with_credentials}/x")) == "Basic YW5uOnPDqWNyZXQ="


def test_a_redirect_to_another_host_gets_no_credentials(
    web: Web, netrc: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", web.address)
    web.answers["/x"] = Answer(b"x")
    web.answers["/moved"] = Answer(status=302, location="http://other.example.invalid/x")
    with open_session() as session:
        response = session.get("http://ann:s3cret@files.example.invalid/moved")
    assert response.content == b"x"
    assert sent(response.history[0])
    assert sent(response) is None
    assert web.proxied == ["files.example.invalid", "other.example.invalid"]


def test_no_proxy_applies_to_the_target_of_a_redirect(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", web.address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    web.answers["/x"] = Answer(b"x")
    web.answers["/moved"] = Answer(status=302, location=f"{web.address}/x")
    with open_session() as session:
        assert session.get(f"{ELSEWHERE}/moved").content == b"x"
    assert web.proxied == ["files.example.invalid"]


def test_without_the_environment_no_proxy_is_used(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    web.answers["/x"] = Answer(b"x")
    with open_session(use_environment=False) as session:
        assert session.get(f"{web.address}/x").content == b"x"


@pytest.mark.parametrize(
    ("proxy", "found"),
    [
        ("ftp://ann:s3cret@proxy", "scheme ftp"),
        ("socks5://ann:s3cret@proxy", "scheme socks5"),
        ("http://:3128", "host"),
        ("http://ann:s3cret@proxy:port", "malformed"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch, proxy: str, found: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(ConfigurationError, match="HTTP_PROXY") as caught:
        check_proxy(ELSEWHERE)
    assert found in str(caught.value.found)
    assert "s3cret" not in str(caught.value)
    check_proxy("https://files.example.invalid")


@pytest.mark.parametrize("proxy", ["http://proxy:3128", "https://ann:s3cret@proxy", "proxy:3128"])
def test_a_usual_proxy_is_accepted(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    check_proxy(ELSEWHERE)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_proxy_without_a_scheme_is_used(
    web: Web, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"{host}:{web.address.rpartition(':')[2]}")
    web.answers["/x"] = Answer(b"x")
    web.answers["/moved"] = Answer(status=302, location=f"{ELSEWHERE}/x")
    with open_session() as session:
        assert session.get(f"{ELSEWHERE}/moved").content == b"x"
    assert web.proxied == ["files.example.invalid"] * 2


def test_neither_logs_nor_descriptions_contain_a_url(
    web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    web.answers["/x"] = Answer(b"x" * 100, cut_after=10)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}"
        for address, expected in ((web.address, "IncompleteRead"), (closed, "refused")):
            with (
                open_session(connect_attempts=2) as session,
                pytest.raises(TRANSPORT_ERRORS) as caught,
            ):
                session.get(f"{address}/x?key=s3cret")
            described = describe_error(caught.value)
            assert expected in described
            assert "s3cret" not in described + caplog.text


def test_only_connecting_is_repeated(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[object] = []
    connect = urllib3.util.connection.create_connection

    def count(address: tuple[str, int], *args: object, **options: object) -> socket.socket:
        attempts.append(address)
        if len(attempts) == 1:
            raise ConnectionRefusedError("not yet")
        return connect(address, *args, **options)

    monkeypatch.setattr("urllib3.util.connection.create_connection", count)
    web.answers["/x"] = Answer(b"x")
    web.answers["/busy"] = Answer(status=503)
    with open_session(connect_attempts=2) as session:
        assert session.get(f"{web.address}/x").content == b"x"
        assert session.get(f"{web.address}/busy").status_code == 503
    assert web.asked == [("/x", None), ("/busy", None)]
    attempts.clear()
    with open_session() as session, pytest.raises(requests.ConnectionError):
        session.get(f"{web.address}/x")


@pytest.mark.parametrize(
    ("no_proxy", "is_used"),
    [
        ("fd00::/8", False),
        ("[fd00::]/8", False),
        ("localhost, fd00::12", False),
        ("[fd00::12]", False),
        ("[fd00::12]:8080,localhost", False),
        ("http://[fd00::12]:8080", False),
        ("*", False),
        ("*.example.invalid", True),
        ("fe80::/10,10.0.0.0/8", True),
        ("[fd00::12", False),
        ("[,],::/x,//", True),
    ],
)
def test_no_proxy_may_name_addresses_and_networks_of_ipv6(
    web: Web, monkeypatch: pytest.MonkeyPatch, no_proxy: str, is_used: bool
) -> None:
    monkeypatch.setenv("HTTP_PROXY", web.address)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    web.answers["/x"] = Answer(b"x")
    url = "http://[fd00::12]:8080/x"
    check_proxy(url)
    with open_session() as session:
        settings = session.merge_environment_settings(url, {}, None, None, None)
        assert bool(settings["proxies"].get("http")) is is_used
        # It breaks no other request.
        if not no_proxy.startswith("*"):
            assert session.get(f"{ELSEWHERE}/x").content == b"x"
            assert web.proxied == ["files.example.invalid"]


@pytest.mark.parametrize(
    ("no_proxy", "is_used"),
    [
        ("*.example.invalid", False),
        ("localhost *.Example.invalid", False),
        ("*.other.invalid", True),
        ("*.ample.invalid", True),
    ],
)
def test_no_proxy_may_name_a_domain_with_a_star(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, is_used: bool
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    with open_session() as session:
        settings = session.merge_environment_settings(f"{ELSEWHERE}/x", {}, None, None, None)
    assert bool(settings["proxies"].get("http")) is is_used
