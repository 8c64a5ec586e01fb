"""Servers that are down or named by half, and those that a command starts itself."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from recsys.database import PostgresSettings
from recsys.embedded import stack
from recsys.embedded.home import Home
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from recsys.object_store import S3Settings
from recsys.services import Services
from tests.command_line import (
    CommandLine,
    World,
    servers,
)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens at, though it is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def down(closed_port: int) -> dict[str, str]:
    """The environment of servers that are down."""
    s3 = S3Settings.model_validate(
        {
            "bucket": "bucket",
            "endpoint": f"http://127.0.0.1:{closed_port}",
            "access_key": "id",
            "secret_key": "hush",
        }
    )
    dsn = SecretStr(f"postgresql://u:hush@127.0.0.1:{closed_port}/x")
    return {**servers(Services(PostgresSettings(dsn=dsn), s3)), "RECSYS_S3_MAX_ATTEMPTS": "1"}


def test_doctor_names_each_server_that_is_down(recsys: CommandLine, closed_port: int) -> None:
    command = CommandLine(recsys.home, down(closed_port))
    done = command("doctor")
    assert (done.code, done.err) == (1, "")
    assert "PostgreSQL does not answer" in done.words
    assert "S3 does not answer" in done.words
    assert "hush" not in done.words


def test_doctor_says_which_of_the_two_is_down(world: World, closed_port: int) -> None:
    place = {**down(closed_port), "RECSYS_PG_DSN": world.recsys.environment["RECSYS_PG_DSN"]}
    done = CommandLine(world.recsys.home, place)("doctor", "--json")
    assert done.code == 1
    [problem] = done.json["problems"]
    assert problem.startswith("S3: S3 does not answer")


def test_doctor_uses_each_connection_and_leaves_nothing_behind(
    world: World, closed_port: int
) -> None:
    done = world.recsys("doctor", "--connections")
    assert done.code == 0, done
    assert "tried: read the connection, find the bucket, write an object" in done.words
    assert world.services.store.keys("") == []
    place = {**down(closed_port), "RECSYS_PG_DSN": world.recsys.environment["RECSYS_PG_DSN"]}
    done = CommandLine(world.recsys.home, place)("doctor", "--connections", "--json")
    assert done.code == 1
    works = {each["name"]: each["works"] for each in done.json["connections"]}
    assert works == {"PostgreSQL": True, "S3": False}


def test_the_inventory_is_a_table_and_a_document(world: World) -> None:
    world.promoted(1)
    done = world.recsys("inventory")
    assert done.code == 0, done
    for part in ("Releases", "Tables of", "Roles of the database", "Objects of", "releases/"):
        assert part in done.words
    assert "Airflow is listed only in a container" in done.words
    found = world.recsys("inventory", "--json").json
    assert found["airflow"] is None
    [champion] = [each for each in found["releases"] if each["state"] == "champion"]
    assert champion["bytes"] > 0
    assert {each["schema"] for each in found["database"]["tables"]} == {"recsys", "recsys_live"}


def test_a_server_that_is_down_ends_a_command_with_75(
    recsys: CommandLine, closed_port: int
) -> None:
    done = CommandLine(recsys.home, down(closed_port))("status")
    assert (done.code, done.out) == (75, "")
    for part in ("PostgreSQL does not answer", "found:", "expected:", "what to do:"):
        assert part in done.words


def test_half_an_environment_is_refused_with_what_is_missing(
    recsys: CommandLine, closed_port: int
) -> None:
    dsn = f"postgresql://u:hush@127.0.0.1:{closed_port}/x"
    done = CommandLine(recsys.home, {"RECSYS_PG_DSN": dsn})("status")
    assert (done.code, done.out) == (1, "")
    assert "RECSYS_S3_BUCKET" in done.words
    assert "hush" not in done.words


def test_a_shell_takes_over_the_printed_environment(recsys: CommandLine) -> None:
    expected = stack.environment(recsys.home)
    script = 'eval "$1"; ' + "; ".join(f'printf "%s\\n" "${name}"' for name in expected)
    done = subprocess.run(
        ["sh", "-ceu", script, "sh", recsys("env").out], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == list(expected.values())


def test_a_reading_command_starts_servers_that_are_down_and_stops_them_again(home: Home) -> None:
    done = CommandLine(home)("status")
    assert (done.code, done.err) == (0, "")
    assert "Nothing was promoted yet" in done.words
    assert Postgres(home).data.exists()
    assert not any(service.running for service in stack.status(home))
    assert [*Postgres(home).members(), *S3(home).members()] == []
