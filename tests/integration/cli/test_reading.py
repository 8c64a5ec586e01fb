"""Commands that look, with releases and before the first one."""

from __future__ import annotations

import pytest

from tests.command_line import (
    HOSTILE,
    CommandLine,
    World,
    id_of,
)
from tests.metrics_maker import GOOD


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
