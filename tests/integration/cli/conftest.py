"""The command with servers of its own, and worlds of releases."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from recsys import contract, ledger
from recsys.embedded.home import Home
from tests.actors import an_actor
from tests.command_line import (
    HOSTILE,
    TITLES,
    CommandLine,
    World,
    id_of,
    new_world,
)
from tests.release_maker import Releases


@pytest.fixture(scope="session")
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


@pytest.fixture
def world(recsys: CommandLine) -> Iterator[World]:
    """Servers to change."""
    with new_world(recsys) as made:
        yield made


@pytest.fixture(scope="session")
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
