"""Commands that change what is served or stored."""

from __future__ import annotations

import os
import pty
from dataclasses import replace
from pathlib import Path

import pytest

from recsys import contract, ledger
from recsys.contract import PUBLIC_MODEL_KEY
from recsys.releases import live_tables, promote_release
from tests.actors import an_actor
from tests.command_line import (
    HOSTILE,
    World,
    id_of,
)


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
