"""A user vector from a few ratings."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.errors import UnknownIdError
from recsys.recommend.cold_start import FoldIn

DIM = 6


@pytest.fixture(scope="module")
def fold_in() -> FoldIn:
    """Users whose latent vector is twice the mean of their movies' with the axes swapped."""
    rng = np.random.default_rng(0)
    towers = {m: rng.normal(size=DIM).astype(np.float32) for m in range(1, 60)}
    users = []
    for _ in range(300):
        seen = rng.choice(np.arange(1, 60), 10, replace=False).tolist()
        vector = np.zeros(DIM, np.float32)
        vector[:-2] = 2 * np.mean([towers[m] for m in seen], axis=0)[:-2][::-1]
        vector[-2] = 1
        users.append((vector, seen))
    return FoldIn.learn(users, towers)


def test_the_map_from_movies_to_users_is_learned(fold_in: FoldIn) -> None:
    made = fold_in.newcomer_vector({3: 5.0})
    wanted = 2 * fold_in.towers[3][:-2][::-1]
    assert made.shape == (DIM,)
    # The penalty shrinks a vector, and hardly turns it.
    cosine = made[:-2] @ wanted / np.linalg.norm(made[:-2]) / np.linalg.norm(wanted)
    assert cosine > 0.98
    assert 0.7 < np.linalg.norm(made[:-2]) / np.linalg.norm(wanted) <= 1.01


def test_the_bias_counts_in_full_and_the_filler_not_at_all(fold_in: FoldIn) -> None:
    assert fold_in.newcomer_vector({1: 0.5, 2: 4.0})[-2:].tolist() == [1.0, 0.0]


def test_what_was_rated_last_and_liked_counts_most(fold_in: FoldIn) -> None:
    alone = {m: fold_in.newcomer_vector({m: 3.0}) for m in (1, 2)}

    def share_of_second(ratings: dict[int, float]) -> float:
        made, axis = fold_in.newcomer_vector(ratings), alone[2] - alone[1]
        return float((made - alone[1]) @ axis / (axis @ axis))

    assert share_of_second({2: 3.0, 1: 3.0}) < 0.5 < share_of_second({1: 3.0, 2: 3.0})
    assert share_of_second({1: 3.0, 2: 3.0}) < share_of_second({1: 3.0, 2: 5.0})


def test_movies_without_a_tower_are_passed_over_unless_there_is_no_other(fold_in: FoldIn) -> None:
    assert np.array_equal(
        fold_in.newcomer_vector({999: 5.0, 3: 4.0}), fold_in.newcomer_vector({3: 4.0})
    )
    for ratings in ({999: 5.0}, {}):
        with pytest.raises(UnknownIdError, match="no rated movie has a tower"):
            fold_in.newcomer_vector(ratings)
