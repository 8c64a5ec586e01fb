"""Pairs of ids of 32 and 64 bits are ordered and compared as Python compares them."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recsys.contract import LARGEST_ID, NARROW, WIDE, IdBits, max_id
from recsys.errors import EvaluationError
from recsys.evaluation import HASHES, ID_TYPES, id_type, pairs_ascend, place_of, with_id_type
from recsys.evaluation.ids import has_repeated_pair
from recsys.evaluation.tables import indices_of_ids, table

Pairs = list[tuple[int, int]]
WIDE_IDS = st.one_of(
    st.integers(1, 3),
    st.integers(1, LARGEST_ID),
    # Equal lower halves, and neighbors that are one number in a float.
    st.integers(1, 2**31 - 1).map(lambda n: n * 2**32),
    st.integers(LARGEST_ID - 3, LARGEST_ID),
)
NARROW_IDS = st.one_of(st.integers(1, 3), st.integers(1, max_id(NARROW)))


def frame(pairs: Pairs, bits: IdBits) -> pl.DataFrame:
    return pl.DataFrame(
        pairs, schema=dict.fromkeys(("userId", "movieId"), ID_TYPES[bits]), orient="row"
    )


def pairs_of(ids: st.SearchStrategy[int]) -> st.SearchStrategy[Pairs]:
    return st.lists(st.tuples(ids, ids), min_size=1, max_size=12).flatmap(
        lambda pairs: st.sampled_from([pairs, sorted(pairs), sorted(set(pairs))])
    )


TABLES = st.one_of(
    pairs_of(WIDE_IDS).map(lambda pairs: (pairs, WIDE)),
    pairs_of(NARROW_IDS).map(lambda pairs: (pairs, NARROW)),
)


@given(TABLES)
@example(([(1, 2**32 + 1), (2, 1)], WIDE))
@example(([(1, 2**32 + 1), (2, 1), (1, 2**32 + 1)], WIDE))
@example(([(1, 2**32), (2, 2**32), (1, 2**32)], WIDE))
@example(([(LARGEST_ID - 1, LARGEST_ID), (LARGEST_ID, 1)], WIDE))
def test_pairs_are_compared_as_tuples(given_table: tuple[Pairs, IdBits]) -> None:
    pairs, bits = given_table
    made = frame(pairs, bits)
    assert pairs_ascend(made) == all(a < b for a, b in itertools.pairwise(pairs))
    assert has_repeated_pair(made) == (len(set(pairs)) < len(pairs))


@given(st.lists(WIDE_IDS, min_size=1))
def test_an_array_and_a_column_have_the_same_places(ids: list[int]) -> None:
    places = place_of(np.array(ids, np.uint64))
    column = pl.DataFrame({"id": ids}).select(place_of(pl.col("id").cast(pl.UInt64)))
    assert places.tolist() == column.to_series().to_list()
    # What chose users of 32 bits before there were longer ids.
    before = [id_ * 2_654_435_761 % HASHES for id_ in ids]
    assert [p for p, i in zip(places, ids, strict=True) if i < HASHES] == [
        p for p, i in zip(before, ids, strict=True) if i < HASHES
    ]


def test_ids_that_differ_in_their_upper_half_only_have_different_places() -> None:
    places = place_of(np.arange(1, 10_001, dtype=np.uint64) * np.uint64(2**32))
    assert len(np.unique(places)) == 10_000
    assert np.mean(places < HASHES * 0.1) == pytest.approx(0.1, abs=0.01)


@given(st.lists(WIDE_IDS, min_size=1, unique=True))
def test_ids_are_found_at_their_places(ids: list[int]) -> None:
    ids.sort()
    column = frame([(i, 1) for i in reversed(ids)], WIDE)
    found = indices_of_ids(column, "userId", np.array(ids, np.int64))
    assert found.tolist() == list(reversed(range(len(ids))))


def test_tables_share_the_longest_type() -> None:
    narrow, wide = frame([(1, 2)], NARROW), frame([(1, 2**62)], WIDE)
    assert id_type(narrow, narrow.select("userId")) == pl.Int32
    assert id_type(narrow, wide) == pl.Int64
    assert with_id_type(narrow, ID_TYPES[WIDE]).schema == wide.schema
    with pytest.raises(pl.exceptions.PolarsError):
        with_id_type(wide, ID_TYPES[NARROW])


def test_a_table_with_longer_ids_than_the_dataset_is_refused() -> None:
    wide = frame([(1, 2**62)], WIDE)
    assert table("pairs", wide, ["userId", "movieId"], pl.Int64()).equals(wide)
    with pytest.raises(EvaluationError, match="wrong type"):
        table("pairs", wide, ["userId", "movieId"], pl.Int32())
