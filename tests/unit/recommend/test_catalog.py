"""Finding the movie that a text names."""

from __future__ import annotations

import unicodedata

import polars as pl
import pytest

from recsys.errors import PermanentError
from recsys.recommend import Catalog, ScoredMovie

TITLES = {
    1: "Toy Story (1995)",
    2: "Toy Story 2 (1999)",
    3: "Matrix Reloaded, The (2003)",
    4: "Matrix, The (1999)",
    5: "Animatrix, The (2003)",
    6: "Hamlet (1990)",
    7: "Hamlet (1996)",
    8: "City of Lost Children, The (Cité des enfants perdus, La) (1995)",
    9: "Seven Pounds (2008)",
    10: "Seven (a.k.a. Se7en) (1995)",
    11: "(500) Days of Summer (2009)",
    12: "Amelie (Fabuleux destin d'Amélie Poulain, Le) (2001)",
    13: "2012 (2009)",
    14: "Babylon 5",
    15: "Beautiful Mind, A (2001)",
    16: "A (1998)",
    17: "Avventura, L' (Adventure, The) (1960)",
    18: unicodedata.normalize("NFD", "Pokémon the Movie (1998)"),
    19: unicodedata.normalize("NFD", "機動戦士ガンダム (1981)"),
    2012: "Artist, The (2011)",
}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog(
        pl.DataFrame(
            {
                "movieId": list(TITLES),
                "title": list(TITLES.values()),
                "genres": [["Comedy", "Drama"], None, *([] for _ in range(len(TITLES) - 2))],
            },
            schema_overrides={"genres": pl.List(pl.String)},
        )
    )


@pytest.mark.parametrize(
    ("text", "movie_id"),
    [
        ("Toy Story", 1),
        ("Amelie Poulain", 12),
        ("Amélie Poulain", 12),
        (unicodedata.normalize("NFD", "Amélie Poulain"), 12),
        ("Pokemon the Movie", 18),
        ("Pokémon the Movie", 18),
        (unicodedata.normalize("NFD", "POKÉMON the Movie"), 18),
        ("ガンダム", 19),
        ("toy story", 1),
        ("  Toy Story  ", 1),
        ("Toy Story (1995)", 1),
        ("toy story (1995) ", 1),
        ("Toy Story 2", 2),
        ("The Matrix", 4),
        ("the matrix (1999)", 4),
        ("Matrix, The (1999)", 4),
        ("Matrix, The", 4),
        ("matrix, the", 4),
        ("Matrix", 4),
        ("matrix rel", 3),
        ("Animatrix", 5),
        ("A Beautiful Mind", 15),
        ("beautiful mind", 15),
        ("mind", 15),
        ("The City of Lost Children", 8),
        ("City of Lost Children, The", 8),
        ("city of lost", 8),
        ("Cité des enfants perdus", 8),
        ("Cité des enfants perdus, La", 8),
        ("500) days", 11),
        ("(500) Days of Summer", 11),
        ("Amélie", 12),
        ("Babylon 5", 14),
        ("A", 16),
        ("L'Avventura", 17),
    ],
)
def test_finds_a_title_in_every_way_of_writing_it(
    catalog: Catalog, text: str, movie_id: int
) -> None:
    assert catalog.find(text).title == TITLES[movie_id]


@pytest.mark.parametrize(
    ("text", "movie_id"),
    [("Hamlet (1990)", 6), ("Hamlet (1996)", 7), ("hamlet (1996)", 7), ("Hamlet", 6)],
)
def test_the_year_distinguishes_movies_of_the_same_name(
    catalog: Catalog, text: str, movie_id: int
) -> None:
    assert catalog.find(text).movie_id == movie_id


def test_a_wrong_year_does_not_hide_the_movie(catalog: Catalog) -> None:
    assert catalog.find("Toy Story (1994)").movie_id == 1


def test_a_title_with_a_parenthesis_ranks_before_longer_titles_with_the_same_start(
    catalog: Catalog,
) -> None:
    assert catalog.find("Seven").movie_id == 10
    assert catalog.find("Seven P").movie_id == 9


@pytest.mark.parametrize(("text", "movie_id"), [("4", 4), ("2012", 2012), ("007", 7)])
def test_a_number_is_an_id_if_that_id_exists(catalog: Catalog, text: str, movie_id: int) -> None:
    assert catalog.find(text).movie_id == movie_id


def test_a_number_without_such_an_id_is_a_title(catalog: Catalog) -> None:
    assert catalog.find("500").movie_id == 11
    assert catalog.find("2012 (2009)").movie_id == 13


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "(1995)",
        "()",
        "no such movie",
        "99",  # no such id, and no title contains it
        "-1",
        "9" * 5000,
        "%",
        "'; drop table x; --",
    ],
)
def test_rejects_a_text_that_names_no_movie(catalog: Catalog, text: str) -> None:
    with pytest.raises(PermanentError, match="no movie has this title") as caught:
        catalog.find(text)
    assert caught.value.found == (text if len(text) < 200 else text[:199] + "…")
    assert f"one of {len(TITLES)} titles" in str(caught.value.expected)


def test_returns_a_movie_with_its_genres_and_score(catalog: Catalog) -> None:
    assert catalog.movie(1, 0.5) == ScoredMovie(1, "Toy Story (1995)", ("Comedy", "Drama"), 0.5)
    assert catalog.movie(2) == ScoredMovie(2, "Toy Story 2 (1999)", (), None)


def test_returns_a_placeholder_for_an_id_that_the_dataset_lacks(catalog: Catalog) -> None:
    # Only a defect causes this; the other results are still valid.
    assert catalog.movie(77, 0.5) == ScoredMovie(77, "movie 77", (), 0.5)


def test_every_title_finds_its_movie(catalog: Catalog) -> None:
    for title in TITLES.values():
        assert catalog.find(title).title == title


POPULAR = {
    1: "Toys (1992)",
    2: "Toy, The (1982)",
    3: "Toy Story (1995)",
    4: "Toy Story 2 (1999)",
    5: "Andre (1994)",
    6: "Star Wars: The Last Jedi (2017)",
    7: "Star Wars: Episode IV - A New Hope (1977)",
    8: "Beauty and the Beast (1991)",
    9: "Toy (2010)",
}


@pytest.mark.parametrize(
    ("text", "first", "others"),
    [
        ("toy", 9, [3, 4, 2, 1]),
        ("toy story", 3, [4]),
        ("star wars", 7, [6]),
        ("and", 8, [5]),
        ("toys", 1, []),
        ("beast beauty", 8, []),
    ],
)
def test_whole_words_and_popular_movies_come_first(
    text: str, first: int, others: list[int]
) -> None:
    movies = pl.DataFrame(
        {
            "movieId": list(POPULAR),
            "title": list(POPULAR.values()),
            "genres": [[""]] * len(POPULAR),
        }
    )
    counts = {1: 90, 2: 5, 3: 200, 4: 100, 5: 50, 6: 20, 7: 250, 8: 150}
    found = Catalog(movies, counts).find_all(text)
    assert [movie.movie_id for movie in found] == [first, *others]
