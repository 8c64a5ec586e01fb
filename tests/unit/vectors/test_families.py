"""Recall of franchises and series among nearest movies."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.vectors.families import SERIES, find_franchises, find_series, measure_family

ENOUGH = 10


def test_franchises_have_2_to_12_movies_with_enough_ratings() -> None:
    titles = [
        "Alien (1979)", "Aliens (1986)", "Alien 3 (1992)", "Lone (1999)", "", "",
        "Rocky (1976)", "Rocky II (1979)", "Rocky III (1982)",
        *(f"Saga {i}" for i in range(13)),
    ]  # fmt: skip
    ratings = np.full(len(titles), ENOUGH)
    ratings[8] = ENOUGH - 1
    found = [family.tolist() for family in find_franchises(titles, ratings)]
    assert found == [[0, 2], [6, 7]]


def test_series_are_found_by_title_and_year() -> None:
    titles = [
        "Goldfinger (1964)", "Skyfall (2012)", "Skyfall (1999)", "Spectre (2015)",
        "Man with the Golden Gun, The (1974)", "Up (2009)", "Skyfall (2012)",
    ]  # fmt: skip
    years = [1964, 2012, 1999, None, 1974, 2009, 2012]
    ratings = np.full(len(titles), ENOUGH)
    assert [found.tolist() for found in find_series(titles, years, ratings)] == [[0, 1, 4]]
    ratings[0] = ENOUGH - 1
    assert [found.tolist() for found in find_series(titles, years, ratings)] == [[1, 4]]


def test_recall_is_the_share_of_the_family_among_the_nearest() -> None:
    rng = np.random.default_rng(0)
    axes = np.eye(40, dtype=np.float32)
    # Families of 4 on one axis each; the last member of each is elsewhere.
    vectors = np.concatenate([axes[[i, i, i, 20 + i]] for i in range(6)] + [axes[30:]])
    families = [np.arange(4 * i, 4 * i + 4) for i in range(6)]
    vectors = vectors + rng.normal(0, 1e-3, vectors.shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    found = measure_family(vectors, families, 2)

    assert found is not None
    assert (found.families, found.movies, found.neighbors) == (6, 24, 2)
    # Three members find both others, the fourth finds none or some by chance.
    assert 0.75 <= found.recall <= 0.85
    exact = np.argsort(-(vectors @ vectors.T), axis=1)[:, 1:3]
    shares = [len(set(exact[m]) & set(own)) / 2 for own in families for m in own]
    assert found.recall == pytest.approx(np.mean(shares))


def test_few_families_are_not_measured_and_many_are_sampled() -> None:
    vectors = np.eye(8, dtype=np.float32)
    pair = np.array([0, 1])
    assert measure_family(vectors, [pair] * 4, 3) is None
    assert measure_family(vectors, [pair] * 1203, 3).families == 500  # type: ignore[union-attr]
    # More neighbors than there are movies.
    assert measure_family(vectors, [pair] * 5, 20).recall == 1  # type: ignore[union-attr]


def test_years_and_titles_of_series_are_unique() -> None:
    movies = [movie for movies in SERIES.values() for movie in movies]
    assert len(movies) == len(set(movies))


@pytest.mark.parametrize("count", [500, 501, 563, 1003, 1250])
def test_at_most_500_families_are_measured_whatever_their_number(count: int) -> None:
    # Steps of 563 / 500, added up in floating point, reach 501 places below 563.
    vectors = np.eye(3, dtype=np.float32)
    measured = measure_family(vectors, [np.array([0, 1])] * count, 1)
    assert measured is not None
    assert measured.families == 500
