from __future__ import annotations

import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recsys.embedded.home import Home
from recsys.errors import ConfigurationError


def test_the_home_is_named_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "elsewhere"))
    assert Home().path == tmp_path / "elsewhere"


def test_the_home_is_found_from_deep_inside_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RECSYS_HOME", raising=False)
    (tmp_path / "dags" / "recsys_dag").mkdir(parents=True)
    inside = tmp_path / "docs" / "guides"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    assert Home().path == tmp_path / ".recsys"


def test_a_working_directory_that_was_removed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RECSYS_HOME", raising=False)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ConfigurationError, match="working directory cannot be used"):
        Home()


def test_making_a_home_touches_nothing(tmp_path: Path) -> None:
    Home(tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_secrets_are_private_and_stay_the_same(tmp_path: Path) -> None:
    first = Home(tmp_path).secrets()
    assert Home(tmp_path).secrets() == first
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600


def test_two_homes_share_no_secret(tmp_path: Path) -> None:
    one, other = (set(vars(Home(tmp_path / name).secrets()).values()) for name in ("a", "b"))
    assert len(one) == 8
    assert not one & other


def test_secrets_drawn_at_the_same_time_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        drawn = list(pool.map(lambda _: Home(tmp_path).secrets(), range(32)))
    assert all(secrets == drawn[0] for secrets in drawn)


def test_secrets_are_neither_shown_nor_left_in_a_text(tmp_path: Path) -> None:
    home = Home(tmp_path)
    secrets = home.secrets()
    text = " ".join(vars(secrets).values())
    assert home.redact(text) == " ".join(["***"] * len(vars(secrets)))
    assert not any(value in repr(secrets) for value in vars(secrets).values())


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"postgres_password": "hunter2"}'])
def test_damaged_secrets_are_refused_and_not_printed(tmp_path: Path, damage: str) -> None:
    home = Home(tmp_path)
    home.secrets()
    (tmp_path / "secrets.json").write_text(damage)
    with pytest.raises(ConfigurationError, match="cannot be read") as refusal:
        home.secrets()
    assert "hunter2" not in str(refusal.value)


def test_ports_are_remembered_and_differ(tmp_path: Path) -> None:
    ports = Home(tmp_path).ports(["a", "b", "c"])
    assert len(set(ports.values())) == 3
    assert Home(tmp_path).free_ports(["a", "b", "c"]) == ports


def test_a_taken_port_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    home = Home(tmp_path)
    before = home.ports(["a", "b"])
    with socket.create_server(("127.0.0.1", before["a"])):
        assert home.ports(["a", "b"]) == before
        after = home.free_ports(["a", "b"])
    assert after["a"] != before["a"]
    assert after["b"] == before["b"]
    assert home.ports(["a", "b"]) == after


def test_damaged_ports_are_chosen_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.ports(["a"])
    (tmp_path / "ports.json").write_text('{"a": ')
    assert home.ports(["a"])["a"] > 0
