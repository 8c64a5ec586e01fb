"""A user vector for a cold-start user, from a few ratings."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from recsys.errors import UnknownIdError
from recsys.recommend.cold_start import ColdStartMap, mean_history, rated_user_vector

DIM = 6
Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def movies() -> Floats:
    return np.random.default_rng(0).normal(size=(60, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def learned(movies: Floats) -> ColdStartMap:
    """The latent vector of each user is twice the mean of their movies, with the axes swapped."""
    rng = np.random.default_rng(1)
    histories = np.array(
        [movies[rng.choice(len(movies), 10, replace=False)].mean(axis=0) for _ in range(300)]
    )
    users = np.zeros((300, DIM), np.float32)
    users[:, :-2] = 2 * histories[:, :-2][:, ::-1]
    users[:, -2] = 1
    return ColdStartMap.learn(users, histories)


def vector(learned: ColdStartMap, movies: Floats, *stars: float) -> Floats:
    return learned.user_vector(movies[: len(stars)], np.array(stars, np.float32))


def test_learns_the_map_from_movies_to_users(learned: ColdStartMap, movies: Floats) -> None:
    moved = vector(learned, movies, 5.0)[:-2] - learned.user_mean
    expected = 2 * (movies[0, :-2] - learned.movie_mean)[::-1]
    cosine = moved @ expected / np.linalg.norm(moved) / np.linalg.norm(expected)
    assert cosine > 0.98
    # One rating moves the vector a third of the way; the ridge penalty shrinks it a little more.
    assert 0.7 / 3 < np.linalg.norm(moved) / np.linalg.norm(expected) <= 1.01 / 3


def test_keeps_the_bias_and_leaves_the_filler_at_zero(
    learned: ColdStartMap, movies: Floats
) -> None:
    made = vector(learned, movies, 0.5, 4.0)
    assert made.shape == (DIM,)
    assert made[-2:].tolist() == [1.0, 0.0]


def test_no_ratings_or_only_neutral_ones_give_the_mean_user(
    learned: ColdStartMap, movies: Floats
) -> None:
    for made in (vector(learned, movies), vector(learned, movies, 2.5, 2.5)):
        assert np.array_equal(made, np.array([*learned.user_mean, 1.0, 0.0], np.float32))


def test_a_disliked_movie_moves_the_vector_the_opposite_way(
    learned: ColdStartMap, movies: Floats
) -> None:
    liked = vector(learned, movies, 4.5)[:-2] - learned.user_mean
    disliked = vector(learned, movies, 0.5)[:-2] - learned.user_mean
    assert disliked == pytest.approx(-liked, abs=1e-6)


def test_later_and_stronger_ratings_count_more(learned: ColdStartMap, movies: Floats) -> None:
    first, second = movies[0, :-2] - learned.movie_mean, movies[1, :-2] - learned.movie_mean

    def shares(*stars: float) -> tuple[float, float]:
        """Coordinates of the vector in the basis of what each movie alone gives."""
        moved = vector(learned, movies, *stars)[:-2] - learned.user_mean
        basis = np.stack([first @ learned.weights, second @ learned.weights], axis=1)
        a, b = np.linalg.lstsq(basis, moved, rcond=None)[0]
        return float(a), float(b)

    older, newer = shares(4.0, 4.0)
    assert 0 < older < newer
    assert shares(4.0, 5.0)[1] > newer
    assert shares(5.0, 4.0)[0] > older


def test_more_ratings_move_the_vector_further_from_the_mean_user(
    learned: ColdStartMap, movies: Floats
) -> None:
    same = np.repeat(movies[:1], 8, axis=0)
    lengths = [
        np.linalg.norm(
            learned.user_vector(same[:n], np.full(n, 5.0, np.float32))[:-2] - learned.user_mean
        )
        for n in (1, 2, 4, 8)
    ]
    assert lengths == sorted(lengths)


def test_only_the_newest_30_movies_of_a_user_count() -> None:
    towers = {movie: np.full(DIM, movie, np.float32) for movie in range(1, 41)}
    assert mean_history(range(1, 41), towers)[0] == pytest.approx(np.mean(range(1, 31)))


def test_movies_without_a_tower_are_ignored_unless_there_is_no_other(
    learned: ColdStartMap, movies: Floats
) -> None:
    towers = dict(enumerate(movies))
    assert np.array_equal(
        rated_user_vector(learned, towers, {999: 5.0, 3: 4.0}),
        rated_user_vector(learned, towers, {3: 4.0}),
    )
    for ratings in ({999: 5.0}, {}):
        with pytest.raises(UnknownIdError, match="none of the rated movies has a tower"):
            rated_user_vector(learned, towers, ratings)
