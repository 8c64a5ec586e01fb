"""Words of titles: what they are, and that hostile titles cost little."""

from __future__ import annotations

import time

import numpy as np
import pytest

from recsys.vectors.families import SERIES
from recsys.vectors.titles import (
    MOST_MOVIES,
    franchise_stem,
    main_title,
    title_likeness,
    title_terms,
)


@pytest.mark.parametrize(
    ("title", "name", "stem"),
    [
        ("Matrix, The (1999)", "matrix", "matrix"),
        ("Godfather: Part II, The (1974)", "godfather: part ii", "godfather"),
        ("Star Trek II: The Wrath of Khan (1982)", "star trek ii: the wrath of khan", "star trek"),
        ("Toy Story 2 (1999)", "toy story 2", "toy story"),
        ("Amélie (Fabuleux destin d'Amélie Poulain, Le) (2001)", "amelie", "amelie"),
        ("The Jungle Book (2016)", "the jungle book", "jungle book"),
        ("300 (2007)", "300", "300"),
        ("300: Rise of an Empire (2014)", "300: rise of an empire", "300"),
        ("Part 3", "part 3", "part"),
        ("(500) Days of Summer (2009)", "(500) days of summer", "500 days of summer"),
        ("", "", ""),
        ("!!! (1999)", "!!!", ""),
        ("七人の侍 (1954)", "七人の侍", "七人の侍"),
    ],
)
def test_titles_are_reduced_to_name_and_stem(title: str, name: str, stem: str) -> None:
    assert main_title(title) == name
    assert franchise_stem(title) == stem


def test_terms_are_words_and_neighbors_without_stop_words_and_numbers() -> None:
    assert title_terms("Harry Potter and the Goblet of Fire (2005)") == [
        "fire",
        "goblet",
        "goblet fire",
        "harry",
        "harry potter",
        "potter",
        "potter goblet",
    ]
    assert title_terms("Three 3 III (2003)") == []
    assert title_terms("Howl's Moving Castle (2004)")[0] == "castle"
    assert "howls" in title_terms("Howl\u2019s Moving Castle (2004)")


def test_titles_are_alike_by_the_rare_terms_that_they_share() -> None:
    common = [f"Common {i}x{i}" for i in range(MOST_MOVIES + 1)]
    titles = ["Toy Story (1995)", None, "Toy Story 2 (1999)", "Toy Boy (1992)", "Boy", *common]
    found = title_likeness(titles).toarray()

    # toy, story and their pair; toy and boy; boy; "common" is in too many titles.
    one, two = (1 / 6**0.5) ** 2, (1 / 2**0.5) ** 2
    expected = np.zeros_like(found)
    expected[0, 2] = expected[2, 0] = 1 / (1 + one)
    expected[0, 3] = expected[2, 3] = one / (1 + one)
    expected[3, [0, 2, 4]] = one, one, two
    expected[4, 3] = two
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert title_likeness([]).shape == (0, 0)
    assert title_likeness([None, "Alone"]).nnz == 0


@pytest.mark.parametrize(
    "title",
    [
        "(" * 100_000,
        ", the" * 30_000,
        "a " * 100_000,
        "1 " * 100_000,
        "ﷺ" * 100_000,
        "\u0301" * 100_000,
        ": - " * 40_000,
        "\x00\x1b[31m" * 20_000,
        "Part " * 50_000 + "(1999)",
    ],
)
def test_a_hostile_title_costs_a_bounded_time(title: str) -> None:
    start = time.process_time()
    for _ in range(20):
        franchise_stem(title)
        title_likeness([title, title])
    assert time.process_time() - start < 2


def test_titles_of_a_series_share_no_term_that_vectors_are_made_from() -> None:
    assert len(SERIES) >= 12
    for name, movies in SERIES.items():
        terms = [term for _, title in movies for term in title_terms(title)]
        assert len(terms) == len(set(terms)), name
