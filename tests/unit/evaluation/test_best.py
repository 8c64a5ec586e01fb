"""The best columns of each row equal those of a stable sort."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recsys.evaluation.best import Best, best_columns


def by_sorting(scores: np.ndarray, count: int, above: float) -> list[tuple[int, int, int]]:
    found = []
    for row, values in enumerate(scores):
        order = [c for c in np.argsort(-values, kind="stable") if values[c] > above]
        found += [(row, place, int(column)) for place, column in enumerate(order[:count])]
    return found


def entries(best: Best) -> list[tuple[int, int, int]]:
    return list(zip(best.row.tolist(), best.place.tolist(), best.column.tolist(), strict=True))


@given(
    scores=arrays.arrays(
        np.float32,
        st.tuples(st.integers(0, 4), st.integers(1, 60)),
        # Few different values, so that many are equal.
        elements=st.sampled_from([-np.inf, -1.5, 0.0, 0.25, 0.5, 3.0]),
    ),
    count=st.integers(1, 20),
    above=st.sampled_from([-np.inf, 0.0]),
)
def test_they_are_those_of_a_stable_sort(scores, count, above):
    assert entries(best_columns(scores, count, above)) == by_sorting(scores, count, above)


@pytest.mark.parametrize("count", [1, 7, 100, 1000])
def test_they_are_found_in_long_rows(count):
    scores = np.random.default_rng(3).normal(size=(5, 9_742)).astype(np.float32)

    assert entries(best_columns(scores, count)) == by_sorting(scores, count, -np.inf)


def test_a_row_of_equal_scores_gives_its_first_columns():
    best = best_columns(np.zeros((2, 1000), np.float32), 3)

    assert best.column.tolist() == [0, 1, 2, 0, 1, 2]
