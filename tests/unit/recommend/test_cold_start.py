"""Movies for a cold-start user, from a few ratings."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.recommend.cold_start import make_profile, rank

MOVIES = np.eye(4, dtype=np.float32)


def profile(*stars: float) -> list[float]:
    made: list[float] = make_profile(MOVIES[: len(stars)], np.array(stars, np.float32)).tolist()
    return made


def test_liked_movies_attract_and_disliked_ones_repel() -> None:
    first, second, third, fourth = profile(5, 4, 2.5, 0.5)
    assert first > second > 0
    assert third == 0
    assert fourth < 0
    assert np.linalg.norm(profile(5, 4, 2.5, 0.5)) == pytest.approx(1)


def test_ratings_that_say_nothing_give_no_profile() -> None:
    assert profile() == [0, 0, 0, 0]
    assert profile(2.5, 2.5) == [0, 0, 0, 0]


def test_popularity_decides_between_movies_that_are_about_as_near() -> None:
    found = rank({1: 0.62, 2: 0.60, 3: 0.59}, {1: 10, 2: 100, 3: 11}, 3)
    assert [movie for movie, _ in found] == [2, 1, 3]


def test_popularity_does_not_override_taste() -> None:
    hit_of_everybody, near_and_rated_by_some = {1: 0.2}, {2: 0.6}
    [(best, _)] = rank(hit_of_everybody | near_and_rated_by_some, {1: 330, 2: 3}, 1)
    assert best == 2


def test_a_movie_without_a_count_is_ranked_too() -> None:
    assert rank({1: 0.5, 2: 0.4, 3: -0.1}, {3: 0}, 5) == [(1, 0.5), (2, 0.4), (3, -0.1)]
