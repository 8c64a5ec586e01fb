"""The parts of the site that need no server: titles, search, URLs, posters, cold start."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import unicodedata
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_site.__main__ import server_config
from recsys_site.bundle import has_half_stars
from recsys_site.catalog import Catalog, Movie
from recsys_site.parameters import (
    MAX_ID,
    MAX_RATINGS,
    edit_ratings,
    read_ratings,
    write_ratings,
)
from recsys_site.posters import poster
from recsys_site.releases import open_s3_client
from recsys_site.scale import RatingScale
from recsys_site.settings import SiteSettings
from recsys_site.titles import split_title

MOVIES = [
    Movie(1, "The Matrix", 1999, ()),
    Movie(2, "The Matrix Reloaded", 2003, ()),
    Movie(3, "Amélie", 2001, (), ("Le Fabuleux Destin d'Amélie Poulain",)),
    Movie(4, "Heat", 1995, ()),
    Movie(5, "The Heat", 2013, ()),
    Movie(6, "Dead Heat", 1988, ()),
    Movie(7, "Body Heat", 1981, ()),
    Movie(8, "Heathers", 1989, ()),
    Movie(9, unicodedata.normalize("NFD", "Pokémon"), 1998, ()),
    Movie(10, unicodedata.normalize("NFD", "機動戦士ガンダム"), 1981, ()),
    Movie(11, "Сталкер", 1979, ()),
    Movie(12, "Star Wars: Episode IV - A New Hope", 1977, ()),
    Movie(13, "Spider-Man 2", 2004, ()),
    Movie(14, "Superman", 1978, ()),
    Movie(15, "E.T. the Extra-Terrestrial", 1982, ()),
    Movie(16, "WALL·E", 2008, ()),
    Movie(17, "The Shawshank Redemption", 1994, ()),
    Movie(18, "Seven", 1995, (), ("Se7en",)),
]
CATALOG = Catalog(MOVIES, {7: 9, 6: 1})


@pytest.mark.parametrize(
    ("stored", "shown", "others"),
    [
        ("Matrix, The (1999)", "The Matrix", ()),
        ("Fish Called Wanda, A (1988)", "A Fish Called Wanda", ()),
        ("Avventura, L' (Adventure, The) (1960)", "L'Avventura", ("The Adventure",)),
        ("Good, the Bad and the Ugly, The (1966)", "The Good, the Bad and the Ugly", ()),
        ("Seven (a.k.a. Se7en) (1995)", "Seven", ("Se7en",)),
        ("Vacation (aka National Vacation) (1985)", "Vacation", ("National Vacation",)),
        (
            "Léon: The Professional (a.k.a. The Professional) (Léon) (1994)",
            "Léon: The Professional",
            ("The Professional", "Léon"),
        ),
        ("(500) Days of Summer (2009)", "(500) Days of Summer", ()),
        ("You Can (Not) Redo (2012)", "You Can (Not) Redo", ()),
        ("Nymphomaniac (Part II) (2013)", "Nymphomaniac (Part II)", ()),
        ("Open ((a)) (1999)", "Open ((a))", ()),
        ("Empty ( ) (1999)", "Empty", ()),
        ("300 (2007)", "300", ()),
        ("(1999)", "(1999)", ()),
        ("", "", ()),
    ],
)
def test_titles_are_shown_in_reading_order_without_other_titles(stored, shown, others):
    title = split_title(stored)
    assert (title.name, title.others) == (shown, others)


@given(st.text(max_size=60))
def test_every_title_has_a_name(text):
    assert split_title(text).name.strip() == split_title(text).name or not text.strip()
    assert bool(split_title(text).name) == bool(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("matrix", [1, 2]),
        ("the matrix", [1, 2]),
        ("MATRIX 2003", [2]),
        ("amelie", [3]),
        ("Amélie", [3]),
        (unicodedata.normalize("NFD", "Amélie"), [3]),
        ("Pokémon", [9]),
        ("pokemon 1998", [9]),
        ("機動戦士ガンダム", [10]),
        ("機動", [10]),
        ("сталкер", [11]),
        ("heat", [4, 7, 6, 5, 8]),
        ("eat", []),
        ("  ", []),
        ("\0';--", []),
    ],
)
def test_search_ranks_the_best_match_first(text, found):
    result = CATALOG.search(text, 10)
    assert [movie.movie_id for movie in result.movies] == found
    assert result.approximate == (bool(text.strip("\0';- ")) and not found)


@pytest.mark.parametrize(
    ("text", "movie_id"),
    [("starwars", 12), ("Star-Wars", 12), ("spiderman", 13), ("spider man", 13), ("spiderman2", 13),
     ("super man", 14), ("et", 15), ("walle", 16), ("wall e", 16), ("se7en", 18),
     ("thematrix", 1), ("spiderman 2004", 13)],
)  # fmt: skip
def test_search_finds_words_written_together_or_apart(text, movie_id):
    result = CATALOG.search(text, 3)
    assert result.movies[0].movie_id == movie_id
    assert not result.approximate


@pytest.mark.parametrize(
    ("text", "movie_id"),
    [("matirx", 1), ("martix reloaded", 2), ("shawshenk redemtion", 17), ("starwras", 12),
     ("star wras", 12), ("supermann", 14), ("supr man", 14), ("сталкир", 11), ("ameliee", 3),
     ("spidermen", 13)],
)  # fmt: skip
def test_search_finds_words_with_typos_and_says_so(text, movie_id):
    result = CATALOG.search(text, 3)
    assert result.movies[0].movie_id == movie_id
    assert result.approximate


def test_an_exact_match_is_not_mixed_with_similar_titles():
    result = CATALOG.search("heat", 20)
    assert {movie.movie_id for movie in result.movies} == {4, 5, 6, 7, 8}


def test_the_search_in_many_titles_is_quick_whatever_the_text_is():
    rng = np.random.default_rng(0)
    letters = rng.integers(ord("a"), ord("q"), size=(4000, 8)).astype(np.uint8)
    words = [bytes(row[: 2 + number % 7]).decode() for number, row in enumerate(letters)]
    chosen = rng.integers(len(words), size=(20_000, 3))
    titles = (" ".join(words[word] for word in row) for row in chosen)
    catalog = Catalog((Movie(n, title, 1999, ()) for n, title in enumerate(titles)), {})
    began = time.process_time()
    for text in ("the the", "a", "x" * 100, "abcdefgh " * 11, " ".join(words[:12])):
        catalog.search(text[:100], 24)
    assert time.process_time() - began < 10


def test_the_most_rated_movies_come_first():
    assert [movie.movie_id for movie in CATALOG.most_rated(2)] == [7, 6]


@given(st.text(max_size=120))
def test_search_accepts_any_text(text):
    assert len(CATALOG.search(text, 3).movies) <= 3


@given(
    st.dictionaries(
        st.integers(1, MAX_ID), st.integers(1, 10).map(lambda n: n / 2), max_size=MAX_RATINGS
    )
)
def test_ratings_survive_the_round_trip_through_the_url(ratings):
    assert read_ratings(write_ratings(list(ratings.items()))) == list(ratings.items())


@given(st.text(alphabet="0123456789-._x", max_size=300))
def test_an_edited_url_yields_only_valid_ratings(text):
    ratings = read_ratings(text, RatingScale())
    assert len(ratings) <= MAX_RATINGS
    assert all(1 <= movie <= MAX_ID and 0.5 <= stars <= 5 for movie, stars in ratings)
    assert len(dict(ratings)) == len(ratings)


@pytest.mark.parametrize(
    ("fields", "dropped", "after"),
    [
        ([], "", "1-5_4-2"),
        ([("m7", "3.5")], "", "1-5_4-2_7-3.5"),
        ([("m1", "5"), ("m4", "2")], "", "1-5_4-2"),
        ([("m1", "4.5"), ("m4", "2")], "", "4-2_1-4.5"),
        ([("m1", "5"), ("m1", "0.5")], "", "4-2_1-0.5"),
        ([("m1", "0")], "", "4-2"),
        ([("m9", "0")], "", "1-5_4-2"),
        ([("m7", "3")], "4", "1-5_7-3"),
        ([("m7", "3")], "x", "1-5_4-2_7-3"),
        ([("m7", "5.5"), ("m0", "5"), ("m\u0661", "5"), ("q", "5"), ("m7", "")], "", "1-5_4-2"),
        ([(f"m{MAX_ID + 1}", "5")], "", "1-5_4-2"),
    ],
)
def test_a_form_adds_changes_and_removes_ratings(fields, dropped, after):
    assert write_ratings(edit_ratings(read_ratings("1-5_4-2"), fields, dropped)) == after


@pytest.mark.parametrize(
    ("calibration", "expected"),
    [
        ([{"stars": 4.0, "rows": 3}, {"stars": 4.5, "rows": 0}], False),
        ([{"stars": 4.0, "rows": 3}, {"stars": 4.5, "rows": 1}], True),
        ([{"stars": 4.0, "rows": 0}], True),
        (None, True),
    ],
)
def test_half_stars_are_offered_if_the_holdout_has_them_or_is_unknown(calibration, expected):
    manifest = json.dumps({"metrics": {"calibration": calibration}}).encode()
    assert has_half_stars(manifest) is expected


@given(
    st.integers(1, MAX_ID),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=200),
    st.none() | st.integers(-5, 3000),
    st.lists(st.sampled_from(["Drama", "Sci-Fi", "War", "Horror", "<b>", "IMAX"]), max_size=3),
)
def test_every_movie_has_a_well_formed_deterministic_poster(number, title, year, genres):
    movie = Movie(number, title, year, tuple(genres))
    drawn = poster(movie)
    assert drawn == poster(movie)
    if all(letter.isprintable() or letter.isspace() for letter in title):
        parsed = ET.fromstring(drawn)  # noqa: S314 - drawn by the code under test
        lines = [text.text or "" for text in parsed.iter("text")]
        assert len(drawn) < 12_000
        assert "".join("".join(lines[:-1]).split()).startswith("".join(title.split())[:1])


def test_the_site_starts_without_the_pipeline_and_without_keras():
    blocked = "import sys; sys.modules.update(recsys=None, keras=None, tensorflow=None)"
    folder = Path(__file__).resolve().parents[2] / "site"
    subprocess.run(
        [sys.executable, "-c", f"{blocked}; import recsys_site.app, recsys_site.__main__"],
        cwd=folder,
        env={},
        check=True,
    )


def test_an_idle_connection_is_kept_for_longer_than_load_balancers_use_it():
    settings = SiteSettings(dsn="postgresql://site@127.0.0.1/recsys", s3_bucket="recsys")
    config = server_config(None, settings)
    assert config.timeout_keep_alive > 60
    assert (config.host, config.port) == (settings.host, settings.port)


def test_every_genre_has_its_own_drawing():
    genres = ["Film-Noir", "Western", "Musical", "War", "Documentary", "Animation", "Horror",
              "Sci-Fi", "Mystery", "Fantasy", "Children", "Crime", "Thriller", "Adventure",
              "Romance", "Action", "Comedy", "Drama"]  # fmt: skip
    drawn = {genre: poster(Movie(1, "X", 2000, (genre,))) for genre in genres}
    assert len(set(drawn.values())) == len(genres)


TEMPORARY = {
    "AWS_ACCESS_KEY_ID": "AKIDTEMPORARY",
    "AWS_SECRET_ACCESS_KEY": "hush",
    "AWS_SESSION_TOKEN": "of-the-session",
}


@pytest.mark.parametrize("kind", ["variables", "files"])
def test_temporary_keys_and_the_identity_of_the_machine_sign_requests(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    for name, value in TEMPORARY.items():
        monkeypatch.setenv(name, value)
    if kind == "files":
        lines = [f"{name.lower()} = {value}\n" for name, value in TEMPORARY.items()]
        (tmp_path / "credentials").write_text("[default]\n" + "".join(lines))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        for name in TEMPORARY:
            monkeypatch.delenv(name)
    fields: dict[str, Any] = {"dsn": "postgresql:///x", "s3_bucket": "releases"}
    client = open_s3_client(SiteSettings(**fields))
    url = client.generate_presigned_url("get_object", Params={"Bucket": "releases", "Key": "x"})
    assert "AKIDTEMPORARY" in url
    assert "of-the-session" in url
