"""Golden predictions."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from recsys.contract import (
    GoldenPredictions,
)


def test_golden_predictions_survive_a_round_trip() -> None:
    golden = GoldenPredictions(
        user_ids=[1, -1], movie_ids=[2, 2**31], stars=[3.5, 4.000000001], keras_version="3.15.0"
    )
    assert GoldenPredictions.model_validate_json(golden.model_dump_json()) == golden


@pytest.mark.parametrize(
    ("users", "movies", "stars"),
    [([], [], []), ([1], [1, 2], [3.0, 3.0]), ([1, 2], [1, 2], [3.0]), ([1, 2], [1], [3.0, 3.0])],
)
def test_golden_predictions_of_different_lengths_are_rejected(
    users: list[int], movies: list[int], stars: list[float]
) -> None:
    with pytest.raises(ValidationError):
        GoldenPredictions(user_ids=users, movie_ids=movies, stars=stars, keras_version="3.15.0")
