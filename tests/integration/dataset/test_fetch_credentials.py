"""Credentials of a source's web server: who gets them, and where they never appear."""

from __future__ import annotations

import base64
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.cli.source import fetch_settings, source_connection
from recsys.dataset import (
    DEFAULT_SOURCE,
    FetchSettings,
    SourceCredentials,
    credentials_for,
    environment_credentials,
    obtain_dataset,
    read_source_md5,
)
from recsys.errors import ConfigurationError, RecsysError
from tests.recsys_command import run_recsys
from tests.web_server import MD5, Answer, Web, serving

FAST = FetchSettings(attempts=3, first_wait_s=0.01)
USER, PASSWORD, TOKEN = "ann", "s\N{LATIN SMALL LETTER E WITH ACUTE}cret:pw", "t0ken-of-ann"
BASIC = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
VARIABLES = ("RECSYS_SOURCE_USER", "RECSYS_SOURCE_PASSWORD", "RECSYS_SOURCE_TOKEN", "NETRC")


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*VARIABLES, "AIRFLOW_CONN_RECSYS_SOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def elsewhere() -> Iterator[Web]:
    """A server at another port."""
    with serving() as site:
        yield site


def with_login(server: str, **more: str) -> FetchSettings:
    return FAST.with_credentials(
        credentials_for("the test", server, user=USER, password=PASSWORD, headers=more)
    )


def headers(web: Web, name: str = "Authorization") -> list[str | None]:
    return [received.get(name) for _, received in web.received]


def test_md5_and_zip_are_read_with_basic_authentication_also_when_resumed(
    web: Web, tmp_path: Path
) -> None:
    web.wanted = {"Authorization": BASIC}
    source, settings = web.publish(cut_after=1 << 20, cuts=1), with_login(web.address)
    assert read_source_md5(source, settings=settings) == MD5
    assert obtain_dataset(source, tmp_path, settings=settings).md5 == MD5
    assert any(byte_range for _, byte_range in web.asked)
    assert set(headers(web)) == {BASIC}


def test_headers_are_sent_and_those_of_the_download_stay(web: Web) -> None:
    web.wanted = {"X-Api-Key": "k3y", "Accept-Encoding": "identity"}
    more = {"X-Api-Key": "k3y", "Accept-Encoding": "gzip"}
    settings = FAST.with_credentials(credentials_for("the test", web.address, headers=more))
    assert read_source_md5(web.publish(), settings=settings) == MD5
    assert headers(web) == [None]


def test_a_refusal_says_which_credentials_were_sent(web: Web, elsewhere: Web) -> None:
    web.wanted = {"Authorization": "nobody has it"}
    source = web.publish()
    in_url = source.replace("//", "//bob:hush-b0b@")
    for where, settings, expected in (
        (source, FAST, "HTTP 401, without credentials"),
        (in_url, FAST, "HTTP 401, with the credentials in the URL"),
        (source, with_login(web.address), "HTTP 401, with the credentials of the test"),
        (
            source,
            FAST.with_credentials(credentials_for("the test", web.address)),
            "HTTP 401, without credentials: the test has none",
        ),
        (
            source,
            with_login(elsewhere.address),
            f"HTTP 401, without those of the test, which are for {elsewhere.address}",
        ),
    ):
        with pytest.raises(ConfigurationError, match="was refused") as refused:
            read_source_md5(where, settings=settings)
        assert refused.value.found == expected
        assert "recsys_source" in refused.value.hint
        assert PASSWORD not in str(refused.value)
        assert "hush" not in str(refused.value)


def test_no_other_server_gets_them_after_a_redirect(web: Web, elsewhere: Web) -> None:
    elsewhere.publish()
    elsewhere.wanted = {"Authorization": "nobody has it"}
    source = web.publish()
    web.answers["/ml.zip.md5"] = Answer(status=302, location=f"{elsewhere.address}/ml.zip.md5")
    settings = with_login(web.address, **{"X-Api-Key": "k3y"})
    with pytest.raises(ConfigurationError) as refused:
        read_source_md5(source, settings=settings)
    assert f"after a redirect to {elsewhere.address}" in str(refused.value.found)
    elsewhere.wanted = {}
    assert read_source_md5(source, settings=settings) == MD5
    for name in ("Authorization", "X-Api-Key"):
        assert all(headers(web, name))
        assert not any(headers(elsewhere, name))


def test_no_other_server_gets_them_after_a_detour(web: Web, elsewhere: Web) -> None:
    source = web.publish()
    web.answers["/ml.zip.md5"] = Answer(status=302, location=f"{elsewhere.address}/there")
    elsewhere.answers["/there"] = Answer(status=302, location=f"{web.address}/back")
    web.answers["/back"] = Answer(MD5.encode())
    assert read_source_md5(source, settings=with_login(web.address)) == MD5
    assert headers(web) == [BASIC, None]
    assert headers(elsewhere) == [None]


def test_the_server_itself_gets_them_after_a_redirect(web: Web) -> None:
    web.wanted = {"Authorization": BASIC}
    source = web.publish()
    web.answers["/moved.md5"] = Answer(status=302, location="/ml.zip.md5")
    moved = source.replace("ml.zip", "moved")
    assert read_source_md5(moved, settings=with_login(web.address)) == MD5
    assert headers(web) == [BASIC, BASIC]


@pytest.mark.parametrize("form", ["https://{}", "http://localhost:{port}", "http://127.0.0.1"])
def test_another_scheme_host_or_port_gets_nothing(web: Web, form: str) -> None:
    address = web.address.removeprefix("http://")
    server = form.format(address, port=address.rpartition(":")[2])
    assert read_source_md5(web.publish(), settings=with_login(server)) == MD5
    assert headers(web) == [None]


def test_only_one_of_the_mirrors_gets_them(web: Web, elsewhere: Web, tmp_path: Path) -> None:
    elsewhere.publish(status=404)
    web.wanted = {"Authorization": BASIC}
    mirrors = f"{elsewhere.address}/ml.zip md5={web.publish()}.md5 {web.address}/ml.zip"
    settings = with_login(web.address)
    assert read_source_md5(mirrors, settings=settings) == MD5
    assert obtain_dataset(mirrors, tmp_path, settings=settings).md5 == MD5
    assert elsewhere.received
    assert not any(headers(elsewhere))


def test_the_credentials_in_a_url_come_first(web: Web) -> None:
    source = web.publish().replace("//", "//bob:hush-b0b@")
    settings = with_login(web.address, **{"X-Api-Key": "k3y"})
    assert read_source_md5(source, settings=settings) == MD5
    assert headers(web) == [f"Basic {base64.b64encode(b'bob:hush-b0b').decode()}"]
    assert headers(web, "X-Api-Key") == [None]


def serve(server: str, url: str) -> bool:
    return credentials_for("the test", server, user=USER).serve(url)


@pytest.mark.parametrize(
    ("server", "served", "others"),
    [
        ("https://a.example", ["https://A.example/x?y", "https://a.example:443/"],
         ["http://a.example/", "https://a.example:8443/", "https://b.a.example", "https://a.exampl",
          "https://a.example.evil.invalid/", "https://evil.invalid/@a.example",
          "https://a.example@evil.invalid/", "http://a.example:443/"]),
        ("http://a.example:8080/path", ["http://a.example:8080/x"],
         ["http://a.example/", "https://a.example:8080/"]),
        ("//a.example", ["https://a.example/", "http://a.example/", "http://a.example:80/"],
         ["https://a.example:80/", "http://a.example:8080", "ftp://a.example"]),
        ("//a.example:8443", ["https://a.example:8443/"], ["https://a.example/"]),
        ("https://[FD00::1]:8443", ["https://[fd00::1]:8443/x"], ["https://[fd00::2]:8443/x"]),
        ("https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example",
         ["https://xn--bcher-kva.example/x"], ["https://bucher.example/x"]),
        ("https://eve:hush@a.example", ["https://a.example/"], ["https://eve/"]),
    ],
)  # fmt: skip
def test_they_are_for_one_scheme_host_and_port(
    server: str, served: list[str], others: list[str]
) -> None:
    assert [url for url in served if not serve(server, url)] == []
    assert [url for url in others if serve(server, url)] == []


@pytest.mark.parametrize(
    ("server", "header"),
    [
        ("https://u:s3cret@", "x"),
        ("ftp://u:s3cret@a.example", "x"),
        ("https://u:s3cret@a.example:port", "x"),
        ("https://a.example", "s3cret\r\nHost: evil.invalid"),
        ("https://a.example", " s3cret"),
        ("https://a.example", ["s3cret"]),
        ("https://a.example", "s3cret \N{SNOWMAN}"),
    ],
)
def test_what_cannot_be_sent_is_refused_without_showing_it(server: str, header: object) -> None:
    with pytest.raises(ConfigurationError, match="the test has") as refused:
        credentials_for("the test", server, headers={"X-Api-Key": header})
    assert "s3cret" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_no_representation_contains_them(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = with_login(web.address, **{"X-Api-Key": "k3y-of-ann"})
    web.wanted = {"Authorization": "nobody has it"}
    with pytest.raises(RecsysError):
        read_source_md5(web.publish(), settings=settings)
    shown = f"{settings!r} {settings} {settings.model_dump_json()} {settings.credentials} "
    shown += repr(vars(settings)) + caplog.text
    for secret in (PASSWORD, BASIC.partition(" ")[2], "k3y-of-ann"):
        assert secret not in shown


# --- the command line ---


def set_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_SOURCE_USER", USER)
    monkeypatch.setenv("RECSYS_SOURCE_PASSWORD", PASSWORD)


def test_the_variables_are_for_the_first_web_server_of_the_source(
    web: Web, elsewhere: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_login(monkeypatch)
    elsewhere.publish()
    web.publish()
    web.answers["/ml.zip.md5"] = Answer(status=404)
    source = f"/nowhere/ml.zip {web.address}/ml.zip {elsewhere.address}/ml.zip"
    assert read_source_md5(source, settings=fetch_settings(source)) == MD5
    assert headers(web) == [BASIC]
    assert headers(elsewhere) == [None]


def test_a_token_is_sent_as_such(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_SOURCE_TOKEN", TOKEN)
    web.wanted = {"Authorization": f"Bearer {TOKEN}"}
    source = web.publish()
    assert read_source_md5(source, settings=fetch_settings(source)) == MD5


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"PASSWORD": "s3cret"}, "without a user"),
        ({"USER": "ann", "TOKEN": "s3cret"}, "both"),
    ],
)
def test_variables_that_contradict_each_other_are_an_error(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], found: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"RECSYS_SOURCE_{name}", value)
    with pytest.raises(ConfigurationError, match=found) as refused:
        environment_credentials("https://a.example/x.zip")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("source", [DEFAULT_SOURCE, "/data/x.zip", "s3://bucket/x.zip", "x.zip"])
def test_sources_that_take_no_login_get_none(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    set_login(monkeypatch)
    assert environment_credentials(source) is None
    assert source_connection(source) == {}


def test_commands_that_read_a_dataset_send_them_and_show_them_nowhere(
    web: Web, tmp_path: Path
) -> None:
    """The zip has no valid row, so that nothing is trained."""
    web.wanted = {"Authorization": BASIC}
    environment = {
        **{name: os.environ[name] for name in ("PATH", "NO_PROXY")},
        **{"HOME": str(tmp_path), "RECSYS_HOME": str(tmp_path), "RECSYS_SOURCE": web.publish()},
        **{"RECSYS_SOURCE_USER": USER, "RECSYS_SOURCE_PASSWORD": PASSWORD},
    }
    for command in (("evaluate", "--split", "random-10"), ("train",), ("tune", "--trials", "1")):
        web.received.clear()
        done = run_recsys(command, environment)
        assert [path for path, _ in web.received] == ["/ml.zip.md5", "/ml.zip"], done.stderr
        assert ".csv" in done.stderr
        assert PASSWORD not in done.stdout + done.stderr


def netrc(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("place", [".netrc", "_netrc", "elsewhere"])
def test_the_netrc_file_is_searched_for_the_host(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    path = netrc(tmp_path / place, f"machine 127.0.0.1 login {USER} password {PASSWORD}")
    if place == "elsewhere":
        monkeypatch.setenv("NETRC", str(path))
    web.wanted = {"Authorization": BASIC}
    source = f"http://localhost:9/ml.zip {web.publish()}"
    found = environment_credentials(source)
    assert isinstance(found, SourceCredentials)
    assert (found.name, found.server) == (str(path), web.address)
    settings = FAST.with_credentials(found)
    assert read_source_md5(web.publish(), settings=settings) == MD5


def test_the_variables_come_before_the_netrc_file_and_the_url_before_both(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc(tmp_path / ".netrc", "machine 127.0.0.1 login eve password fr0m-netrc")
    set_login(monkeypatch)
    source = web.publish()
    in_url = source.replace("//", "//bob:hush-b0b@")
    for one in (source, in_url):
        assert read_source_md5(one, settings=fetch_settings(one)) == MD5
    assert headers(web) == [BASIC, f"Basic {base64.b64encode(b'bob:hush-b0b').decode()}"]


def test_the_default_entry_of_a_netrc_file_is_not_used(tmp_path: Path) -> None:
    netrc(tmp_path / ".netrc", "default login anonymous password x@example.org")
    assert environment_credentials("https://a.example/x.zip") is None


@pytest.mark.parametrize("content", [b"machine a.example login eve passwd s3cret", b"\xff\xfe"])
def test_a_netrc_file_that_cannot_be_read_is_named_and_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (tmp_path / ".netrc").write_bytes(content)
    assert environment_credentials("https://a.example/x.zip") is None
    assert str(tmp_path / ".netrc") in caplog.text
    assert "s3cret" not in caplog.text


def test_the_embedded_airflow_gets_them_as_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    set_login(monkeypatch)
    source = "https://bob@a.example:8443/x.zip https://b.example/x.zip"
    found = source_connection(source)["AIRFLOW_CONN_RECSYS_SOURCE"]
    assert json.loads(found) == {
        "conn_type": "http",
        "host": "https://a.example:8443",
        "extra": {"Authorization": BASIC},
    }
    # A Connection that a person has set comes first.
    monkeypatch.setenv("AIRFLOW_CONN_RECSYS_SOURCE", "http://u:p@a.example/https")
    assert source_connection(source) == {}
