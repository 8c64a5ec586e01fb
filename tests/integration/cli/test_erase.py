"""`recsys erase` with real servers: what it prints, and its exit codes."""

from __future__ import annotations

from pathlib import Path

from recsys.contract import release_key
from recsys.releases import promote_release
from tests.actors import an_actor
from tests.command_line import CommandLine, World
from tests.planted_users import PLANTED, PlantedReleases, places, planted_dumps
from tests.signing_keys import make_keys


def test_a_person_erases_users_and_gets_a_certificate(world: World, tmp_path: Path) -> None:
    planted = PlantedReleases(world.services, planted_dumps(tmp_path, 2))
    first = planted.promoted(1)
    nothing = world.recsys("erase", "--json")
    assert (nothing.code, nothing.json["pending"]) == (0, 0)
    listed = tmp_path / "ids.csv"
    listed.write_text(f"name,userId\nada,{PLANTED[0]}\n")
    users = ("--file", str(listed), "--user", str(PLANTED[1]))
    assert "--reason" in world.recsys("erase", *users, "--yes").err
    named = world.recsys("erase", *users, "--yes", "--reason", f"of {PLANTED[0]}")
    assert (named.code, "the reason names the user" in named.err) == (1, True)

    asked = world.recsys("erase", *users, "--yes", "--reason", "request 7", "--json")
    assert asked.code == 3
    assert (asked.json["requested"], asked.json["champion_knows"]) == (2, True)
    found = world.recsys("erase", "--verify")
    assert found.code == 1
    assert f"names 2 of them: releases/{first}/model.keras" in found.words
    again = world.recsys("erase", *users, "--yes", "--reason", "request 7")
    assert "0 users; 2 are being erased already" in again.words

    release_id = planted.made(3, dump=2)
    promote_release(world.services, release_id, actor=an_actor())
    keys = make_keys(tmp_path, "signing")
    with_key = CommandLine(
        world.recsys.home,
        {**world.recsys.environment, "RECSYS_SIGNING_KEY_FILE": str(keys.private)},
    )
    certificate = tmp_path / "certificate.json"
    done = with_key("erase", "--certificate", str(certificate))
    assert (done.code, done.err) == (0, "")
    assert f"Deleted 1 releases: {first}" in done.words
    assert "Erased 2 users." in done.words
    assert "There is no release to roll back to until the next promotion" in done.words
    assert "the Param seed 21" in done.words
    assert "No trace of them was found." in done.words
    assert b"dsseEnvelope" in certificate.read_bytes()
    verified = world.recsys("erase", "--verify", "--json")
    assert (verified.code, verified.json["predicate"]["result"]) == (0, "no trace")
    unread = release_key(release_id, "notes.bin")
    world.services.store.put_bytes(unread, b"?")
    doubtful = world.recsys("erase", "--verify")
    assert (doubtful.code, f"not decoded: {unread}" in doubtful.words) == (4, True)
    assert "Not proven: 1 objects could not be decoded." in doubtful.words
    assert f"it goes with release {release_id}" in doubtful.words
    assert "No trace" not in doubtful.words
    world.services.store.delete([unread])
    assert places(world.services) == []


def test_a_file_that_is_no_list_of_users_is_refused(world: World, tmp_path: Path) -> None:
    path = tmp_path / "ids.csv"
    for text in ("", "userId\n", "userId\nada\n", "1\n-2\n"):
        path.write_text(text)
        refused = world.recsys("erase", "--file", str(path), "--reason", "r", "--yes")
        assert refused.code == 1, text
        assert "is not a list of users" in " ".join(refused.err.split()), text
