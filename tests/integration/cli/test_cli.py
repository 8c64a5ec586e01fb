"""The command `recsys` as people and machines use it, against servers of its own."""

from __future__ import annotations

import io
import json
import os
import pty
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer.main
from pydantic import SecretStr
from rich.cells import cell_len

from recsys import contract, ledger
from recsys.cli.app import app
from recsys.contract import PUBLIC_MODEL_KEY
from recsys.database import PostgresSettings
from recsys.embedded import stack
from recsys.embedded.home import Home
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from recsys.object_store import S3Settings
from recsys.releases import live_tables, promote_release
from recsys.services import Services
from tests.actors import an_actor
from tests.conftest import fresh_bucket, fresh_database
from tests.metrics_maker import GOOD
from tests.recsys_command import loaded_by_recsys, run_recsys
from tests.release_maker import Releases

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group
INHERITED = ("PATH", "HOME", "TMPDIR")


@dataclass(frozen=True)
class Done:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def words(self) -> str:
        """All that it said, on one line, however it was broken into lines."""
        return " ".join((self.out + self.err).split())


@dataclass(frozen=True)
class CommandLine:
    """Runs `recsys` as in a pipe of 80 columns, and checks what holds for all it ever prints."""

    home: Home
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> Done:
        environment = {
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
            "COLUMNS": "80",
            "LANG": "C.UTF-8",
            "RECSYS_ACTOR": "tester",
            "RECSYS_HOME": str(self.home.path),
            **self.environment,
        }
        done = run_recsys(arguments, environment, stdin=stdin)
        for text in (done.stdout, done.stderr):
            assert "\x1b" not in text, text
            assert "Traceback" not in text, text
            assert arguments[0] == "env" or self.home.redact(text) == text
            # Where a person answers, the terminal ends the line.
            if stdin == subprocess.DEVNULL and not {"--json", "env"} & set(arguments):
                # A command that is copied into a shell stays on one line.
                lines = [line for line in text.splitlines() if " demo --source " not in line]
                assert [line for line in lines if cell_len(line) > 80] == []
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def recsys() -> Iterator[CommandLine]:
    """The command with a home of its own, whose data services run and hold nothing."""
    with tempfile.TemporaryDirectory(prefix="recsys-tests-") as folder:
        command = CommandLine(Home(Path(folder) / "home"))
        try:
            started = command("up", "--data-only", "--json")
            assert started.code == 0, started.err
            assert set(started.json) == {"home", "postgres", "s3"}
            yield command
        finally:
            assert command("down").code == 0


@dataclass(frozen=True)
class World:
    """An empty database and bucket, the command that uses them, and a maker of releases."""

    recsys: CommandLine
    services: Services
    releases: Releases

    def promoted(self, *numbers: int) -> list[str]:
        """Makes candidates and promotes one after the other; returns their ids."""
        ids = []
        for number in numbers:
            ids.append(self.releases.candidate(number))
            promote_release(self.services, ids[-1], actor=an_actor("t", "it is better"))
        return ids

    def states(self) -> dict[str, str]:
        with self.services.connect() as conn:
            return {r.release_id: r.state.value for r in ledger.all_releases(conn)}


@contextmanager
def new_world(recsys: CommandLine) -> Iterator[World]:
    home = recsys.home
    with fresh_database(Postgres(home)) as dsn, fresh_bucket(S3(home)) as s3:
        services = Services(PostgresSettings(dsn=SecretStr(dsn)), s3)
        command = CommandLine(home, servers(services))
        yield World(command, services, Releases(services))


def servers(services: Services) -> dict[str, str]:
    """The environment that leads to these servers."""
    s3 = services.s3
    assert s3.access_key is not None
    assert s3.secret_key is not None
    return {
        "RECSYS_PG_DSN": services.postgres.dsn.get_secret_value(),
        "RECSYS_S3_BUCKET": s3.bucket,
        "RECSYS_S3_ENDPOINT": s3.endpoint or "",
        "AWS_ACCESS_KEY_ID": s3.access_key.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": s3.secret_key.get_secret_value(),
    }


@pytest.fixture
def world(recsys: CommandLine) -> Iterator[World]:
    """Servers to change."""
    with new_world(recsys) as made:
        yield made


HOSTILE = "[/b] [red]Fish[/red] & [bold"
TITLES = {1: "Toy Story (1995)", 2: HOSTILE, 3: HOSTILE + " II", 4: "Ran (1985) " * 20}


@pytest.fixture(scope="module")
def served(recsys: CommandLine) -> Iterator[World]:
    """Servers to look at: a champion, one before it, a rejected one and one being built."""
    with new_world(recsys) as made:
        made.promoted(1, 2)
        rejected = made.releases.candidate(3)
        made.releases.begin(4)
        titles = [TITLES.get(movie, f"Movie {movie}") for movie in range(1, Releases.MOVIES + 1)]
        movies = pl.DataFrame(
            {
                "movieId": list(range(1, Releases.MOVIES + 1)),
                "title": titles,
                "genres": [["Comedy", "[/]"]] * Releases.MOVIES,
            }
        )
        written = io.BytesIO()
        movies.write_parquet(written)
        md5 = made.releases.build(2).dataset_md5
        key = contract.titles_key(md5)
        made.services.store.put_bytes(key, written.getvalue())
        with made.services.connect() as conn:
            ledger.move(conn, rejected, ledger.State.REJECTED, actor=an_actor())
            ledger.note(
                conn,
                ledger.Action.REJECTED_AGAIN,
                actor=ledger.Actor(HOSTILE, HOSTILE, HOSTILE),
                release_id=id_of(made, 2),
            )
        yield made


def id_of(world: World, number: int) -> str:
    return world.releases.build(number).release_id


# --- help and usage ---

HELP = """
import json, sys
from typer.testing import CliRunner
from recsys.cli.app import app
asked = [[*command, "--help"] for command in json.loads(sys.argv[1])]
answers = [CliRunner().invoke(app, arguments) for arguments in asked]
print(json.dumps([[answer.exit_code, answer.output] for answer in answers]))
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, Done]:
    """What `--help` says, asked in one process of the same kind as the command's."""
    asked = [[], *([name] for name in COMMANDS)]
    done = subprocess.run(
        [sys.executable, "-c", HELP, json.dumps(asked)],
        env={"PATH": os.environ["PATH"], "COLUMNS": "80", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        name: Done(code, out, "")
        for name, (code, out) in zip(["", *COMMANDS], json.loads(done.stdout), strict=True)
    }


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_says_what_a_command_does_and_lists_all_it_takes(
    helps: dict[str, Done], name: str
) -> None:
    done = helps[name]
    assert done.code == 0
    assert [line for line in done.out.splitlines() if len(line) > 80] == []
    assert COMMANDS[name].help.split(".")[0].split("\n")[0] in done.words
    for parameter in COMMANDS[name].params:
        shown = parameter.opts[0] if parameter.param_type_name == "option" else parameter.name
        assert shown.lower() in done.out.lower()
        assert parameter.help, f"{name} {shown} says nothing of itself"


def test_help_lists_all_commands_and_the_exit_codes(helps: dict[str, Done]) -> None:
    assert helps[""].code == 0
    for name in COMMANDS:
        assert f" {name} " in helps[""].out
    for code in ("0 success", "1 permanent failure", "2 wrong usage", "75 temporary failure"):
        assert code in helps[""].words


def test_wrong_usage_ends_with_2(recsys: CommandLine) -> None:
    done = recsys("status", "--no-such-option")
    assert (done.code, done.out) == (2, "")
    assert "--no-such-option" in done.words


# --- what a command imports ---


def test_status_imports_clients_of_the_servers_and_no_library_for_data(recsys: CommandLine) -> None:
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    env = {**inherited, "RECSYS_HOME": str(recsys.home.path)}
    loaded = loaded_by_recsys("status", env=env)
    assert {"psycopg", "boto3"} <= loaded
    heavy = {"jinja2", "matplotlib", "numpy", "optuna", "pandas", "polars", "requests", "scipy"}
    assert loaded & heavy == set()


# --- an empty ledger ---


def test_before_the_first_release_reading_says_so_and_is_no_failure(recsys: CommandLine) -> None:
    for command, said in (
        ("status", "Nothing was promoted yet"),
        ("releases", "No release yet"),
        ("doctor", "no problems found"),
    ):
        done = recsys(command)
        assert (done.code, done.err) == (0, "")
        assert said in done.words


def test_status_for_machines_has_the_same_parts_with_and_without_a_champion(
    recsys: CommandLine, served: World
) -> None:
    empty, full = recsys("status", "--json").json, served.recsys("status", "--json").json
    assert empty == {
        "champion": None,
        "previous_champion": None,
        "open_journal": None,
        "public_copies_in_order": True,
        "data": None,
    }
    assert set(full) == set(empty)
    assert full["champion"]["release_id"] == id_of(served, 2)
    assert full["champion"]["metrics"] == GOOD["model"]
    assert full["previous_champion"]["release_id"] == id_of(served, 1)
    assert full["public_copies_in_order"] is True


@pytest.mark.parametrize(
    "arguments",
    [("why",), ("report",), ("similar", "Toy Story"), ("rollback", "--reason", "x", "--yes")],
)
def test_before_the_first_release_what_needs_one_says_what_to_run(
    recsys: CommandLine, arguments: tuple[str, ...]
) -> None:
    done = recsys(*arguments)
    assert (done.code, done.out) == (1, "")
    assert "what to do:" in done.words
    assert "recsys" in done.words.partition("what to do:")[2]


# --- looking ---


def test_status_shows_the_champion_and_the_previous_champion(served: World) -> None:
    done = served.recsys("status")
    assert (done.code, done.err) == (0, "")
    for part in (id_of(served, 2), f"before it {id_of(served, 1)}", "0.8500", "in order", "closed"):
        assert part in done.words


def test_releases_lists_all_of_them_newest_first(served: World) -> None:
    ids = [id_of(served, number) for number in (4, 3, 2, 1)]
    states = ["building", "rejected", "champion", "superseded"]
    listed = served.recsys("releases", "--json").json
    assert [(r["release_id"], r["state"]) for r in listed] == list(zip(ids, states, strict=True))
    lines = served.recsys("releases").out.splitlines()[1:]
    assert [line.split()[:2] for line in lines] == [list(r) for r in zip(ids, states, strict=True)]


def test_why_shows_who_did_what_and_escapes_markup(served: World) -> None:
    done = served.recsys("why")
    assert (done.code, done.err) == (0, "")
    for part in (f"{id_of(served, 2)} is champion", "candidate → champion", "it is better"):
        assert part in done.words
    # Cells are broken into lines, so the words are looked for one by one.
    assert all(word in done.words for word in HOSTILE.split())
    answer = served.recsys("why", id_of(served, 1), "--json").json
    assert answer["release"]["state"] == "superseded"
    assert [h["to_state"] for h in answer["history"] if h["to_state"]] == [
        *("superseded", "champion", "candidate", "building"),
    ]


def test_similar_names_movies_and_prints_hostile_titles_as_they_are(served: World) -> None:
    done = served.recsys("similar", "2", "-k", "11")
    assert (done.code, done.err) == (0, "")
    assert done.words.startswith(f"Movies like {HOSTILE} (release {id_of(served, 2)})")
    table = done.out.partition("genres")[2].split()
    assert set(HOSTILE.split()) <= set(table)
    answer = served.recsys("similar", "toy story", "--json").json
    assert answer["movie"]["movie_id"] == 1
    assert len(answer["movies"]) == 10
    scores = [movie["score"] for movie in answer["movies"]]
    assert scores == sorted(scores, reverse=True)


def test_recommend_leaves_out_what_the_user_has_rated(served: World) -> None:
    answer = served.recsys("recommend", "--user", "1", "-k", "100", "--json").json
    assert answer["release_id"] == id_of(served, 2)
    assert sorted(movie["movie_id"] for movie in answer["movies"]) == list(range(2, 13))
    for movie in answer["movies"]:
        assert movie["because"] is None or movie["because"]["cosine"] >= 0.4


def test_recommend_for_a_cold_start_user_leaves_out_what_was_rated(served: World) -> None:
    rated = ("--rated", "1=5", "--rated", "3=0.5")
    answer = served.recsys("recommend", *rated, "-k", "100", "--json").json
    assert answer["release_id"] == id_of(served, 2)
    assert answer["rated"] == {"1": 5.0, "3": 0.5}
    assert sorted(m["movie_id"] for m in answer["movies"]) == [2, *range(4, 13)]
    scores = [movie["score"] for movie in answer["movies"]]
    assert scores == sorted(scores, reverse=True)
    assert "a user who rated" in served.recsys("recommend", *rated).words


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--user", "1", "--rated", "1=5"),
        ("--rated", "1"),
        ("--rated", "1=6"),
        ("--rated", "=4"),
        ("--rated", "1=4", "--stars"),
    ],
)
def test_recommend_says_how_it_wants_to_be_asked(served: World, arguments: tuple[str, ...]) -> None:
    done = served.recsys("recommend", *arguments)
    assert (done.code, done.out) == (2, "")
    assert "--rated" in done.words or "--user" in done.words


@pytest.mark.parametrize(
    ("arguments", "found", "expected"),
    [
        (("why", "deadbeef-deadbeef"), "found: deadbeef-deadbeef", "recsys releases"),
        (("why", "no-id"), "found 'no-id'", "expected 8 hex digits"),
        (("similar", "no such movie"), "found: no such movie", "expected: part of one of 12"),
        (("recommend", "-u", "99"), "found: userId 99", "expected: a user with at least one"),
        (("promote", "BUILDING", "--reason", "x", "-y"), "found: state building", "expected: one"),
        (("rollback", "--reason", "", "-y"), "needs an actor", "and a reason"),
    ],
)
def test_what_cannot_be_done_says_what_was_found_and_expected(
    served: World, arguments: tuple[str, ...], found: str, expected: str
) -> None:
    building, before = id_of(served, 4), served.states()
    done = served.recsys(*(argument.replace("BUILDING", building) for argument in arguments))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert found in done.words
    assert expected in done.words
    assert served.states() == before


# --- changing ---


def test_promotions_and_a_rollback_move_the_champion_and_keep_the_record(world: World) -> None:
    first = world.releases.candidate(1)
    done = world.recsys("promote", first, "--reason", "the first", "--yes")
    assert (done.code, done.words) == (0, f"{first} is the champion.")
    second = world.releases.candidate(2)
    done = world.recsys("promote", second, "--reason", "a better one", "--yes")
    assert (done.code, done.words) == (0, f"{second} is the champion; before, it was {first}.")

    done = world.recsys("rollback", "--reason", "[complaints]", "--yes", "--json")
    assert done.code == 0
    assert {k: done.json[k] for k in ("kind", "from_release", "to_release", "changed")} == {
        "kind": "rollback",
        "from_release": second,
        "to_release": first,
        "changed": True,
    }
    assert world.states() == {first: "champion", second: "rolled_back"}
    with world.services.connect() as conn:
        assert set(live_tables(conn).values()) == {
            contract.table_name(table.name, first) for table in contract.PUBLIC_TABLES
        }
        line = ledger.history(conn, second)[0]
    assert world.services.store.get_bytes(PUBLIC_MODEL_KEY) == world.releases.model_bytes(1)
    assert (line["actor"], line["reason"]) == ("tester", "[complaints]")

    done = world.recsys("rollback", "--to", second, "--reason", "it was not that", "--yes")
    assert (done.code, done.err) == (0, "")
    assert done.words.startswith(f"{second} is the champion; before, it was {first}. took ")


def test_a_rejected_release_is_promoted_only_in_somebodys_name(world: World) -> None:
    rejected = world.releases.without_decision(1)
    with world.services.connect() as conn:
        ledger.move(conn, rejected, ledger.State.REJECTED, actor=an_actor())
    promote = ("promote", rejected, "--reason", "the holdout is wrong", "--yes")
    ada = replace(world.recsys, environment={**world.recsys.environment, "RECSYS_ACTOR": "Ada L."})
    root = replace(ada, environment={**ada.environment, "RECSYS_ACTOR": "root (recsys)"})

    assert world.recsys(*promote).code == 1
    for dry in ((), ("--dry-run",)):
        done = world.recsys(*promote, *dry)
        assert "cannot become the champion" in done.words
    done = root(*promote, "--override")
    assert done.code == 1
    assert "only a named person may override the gate" in done.words
    assert "RECSYS_ACTOR" in done.words
    rehearsed = ada(*promote, "--override", "--dry-run", "--json").json
    assert rehearsed == {"release_id": rejected, "changed": False, "diff": None}
    assert world.states() == {rejected: "rejected"}

    done = ada(*promote, "--override")
    assert (done.code, done.words) == (0, f"{rejected} is the champion.")
    why = world.recsys("why")
    assert "override by Ada L.: the holdout is wrong" in why.words
    assert "gate overridden" in why.words


def test_a_report_is_written_where_it_is_asked_for(served: World, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    done = served.recsys("report", "--out", str(path), "--json")
    assert (done.code, done.json) == (
        0,
        {"release_id": id_of(served, 2), "path": str(path)},
    )
    page = path.read_text()
    assert f"Release {id_of(served, 2)}" in page
    assert HOSTILE not in page, "its ampersand is escaped"
    assert served.recsys("report", id_of(served, 1), "--out", str(path), "--json").code == 0
    assert f"Release {id_of(served, 1)}" in path.read_text()

    done = served.recsys("report", "--out", str(tmp_path / "no" / "such" / "folder.html"))
    assert done.code == 1
    assert "found:" in done.words
    assert "--out" in done.words


@pytest.mark.parametrize("arguments", [("rollback", "--reason", "x"), ("retire", "--keep", "0")])
def test_with_nobody_to_ask_nothing_is_changed(served: World, arguments: tuple[str, ...]) -> None:
    before = served.states()
    done = served.recsys(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "add --yes" in done.words
    assert served.states() == before


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("y", 0)])
def test_somebody_at_a_terminal_is_asked(world: World, answer: str, code: int) -> None:
    first, second = world.promoted(1, 2)
    keyboard, terminal = pty.openpty()
    os.write(keyboard, f"{answer}\n".encode())
    try:
        done = world.recsys("rollback", "--reason", "x", stdin=terminal)
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert done.code == code
    assert f"Roll back from {second} to {first}?" in done.words
    assert world.states()[second] == ("rolled_back" if answer == "y" else "champion")


def test_retire_drops_what_has_no_reason_to_stay_and_says_so(world: World) -> None:
    first, second, third = world.promoted(1, 2, 3)
    assert "Nothing to retire" in world.recsys("retire", "--yes").words
    assert world.recsys("retire", "--json").json == {"retired": [], "skipped": {}}
    done = world.recsys("retire", "--keep", "0", "--reason", "disk", "--yes")
    assert (done.code, done.words) == (0, f"Retired {first}.")
    assert world.states() == {first: "retired", second: "superseded", third: "champion"}
    assert world.services.store.keys(contract.release_prefix(first)) == []


def test_clean_shows_orphans_and_deletes_them_if_told_to(world: World) -> None:
    world.promoted(1)
    table = "movie_vectors_00000000_00000000"
    with world.services.connect() as conn:
        conn.execute(f"create table recsys.{table} (movieid integer)")
        conn.execute(
            f'comment on table recsys.{table} is \'{{"release_id": "00000000-00000000"}}\''
        )
    shown = world.recsys("clean", "--dry-run", "--json").json
    assert [orphan["name"] for orphan in shown["orphans"]] == [f"recsys.{table}"]
    assert (shown["deleted"], shown["skipped"]) == ([], {})
    refused = world.recsys("clean")
    assert refused.code == 2
    assert "add --yes" in refused.words
    done = world.recsys("clean", "--yes")
    assert (done.code, done.words) == (0, f"recsys.{table} Deleted 1 of 1 orphans.")
    assert world.recsys("clean", "--yes").words == "No orphans."


def test_doctor_finds_a_broken_public_copy_and_recover_mends_it(world: World) -> None:
    world.promoted(1)
    world.services.store.put_bytes(PUBLIC_MODEL_KEY, b"something else")
    done = world.recsys("doctor")
    assert done.code == 1
    assert "recsys recover" in done.words
    done = world.recsys("recover")
    assert (done.code, done.err) == (0, "")
    assert done.out == "Restored the public copies: they are the champion's.\n"
    assert world.services.store.get_bytes(PUBLIC_MODEL_KEY) == world.releases.model_bytes(1)
    assert world.recsys("recover", "--json").json == {
        "undone": None,
        "copies_mended": False,
        "names_restored": False,
        "needed": False,
    }


def test_recover_undoes_an_interrupted_promotion(world: World) -> None:
    class Killed(BaseException):
        """In the place of a kill -9: nothing of the promotion cleans up after it."""

    def die(step: str) -> None:
        if step == "model copied":
            raise Killed

    world.promoted(1)
    second = world.releases.candidate(2)
    with pytest.raises(Killed):
        promote_release(world.services, second, actor=an_actor(), trace=die)
    assert f"open: promotion of {second}" in world.recsys("status").words
    done = world.recsys("recover")
    assert (done.code, done.out) == (0, f"Undid the interrupted promotion of {second}.\n")
    assert world.services.store.get_bytes(PUBLIC_MODEL_KEY) == world.releases.model_bytes(1)


# --- servers ---


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


# --- a sample ---


@pytest.mark.parametrize("ratings", ["99", str(10**12)])
def test_a_sample_has_a_size_that_can_be_made(
    recsys: CommandLine, tmp_path: Path, ratings: str
) -> None:
    done = recsys("sample", str(tmp_path / "x.zip"), "--ratings", ratings)
    assert (done.code, done.out) == (2, "")
    assert "'--ratings': Input should be" in done.words
    assert not [*tmp_path.iterdir()]


def test_a_sample_comes_with_an_md5_that_md5sum_verifies(
    recsys: CommandLine, tmp_path: Path
) -> None:
    md5sum = shutil.which("md5sum")
    if md5sum is None:
        pytest.skip("there is no md5sum here")
    path = tmp_path / "new folder" / "it's [a] sample.zip"
    done = recsys("sample", str(path), "--ratings", "300", "--seed", "3")
    assert (done.code, done.err) == (0, "")
    assert "300 ratings" in done.words
    checked = subprocess.run(
        [md5sum, "--check", f"{path.name}.md5"],
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout) == (0, f"{path.name}: OK\n")
