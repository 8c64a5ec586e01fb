"""Ids of 64 bits are read, ordered and split as smaller ids in the same order are."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recsys.contract import LARGEST_ID, NARROW, WIDE, IdBits, max_id
from recsys.features.csv_reader import read_movies, read_ratings
from recsys.features.interactions import make_part
from recsys.features.rules import Rule
from recsys.features.split import Cuts
from recsys.features.validation import RATING_SCHEMA, with_ids
from recsys.vectors.kinds import with_kinds
from recsys.vectors.svd import FeedbackMatrix

IDS = st.one_of(
    st.integers(1, 3),
    st.integers(1, LARGEST_ID),
    st.integers(1, 2**31 - 1).map(lambda n: n * 2**32),
    st.integers(LARGEST_ID - 3, LARGEST_ID),
)
POOLS = st.lists(IDS, min_size=8, max_size=8, unique=True).map(sorted)
ROWS = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(1, 10), st.integers(0, 5)),
    min_size=1,
    max_size=60,
)
NUMBERS = st.one_of(
    IDS.map(str),
    IDS.map(lambda n: f"00{n}"),
    st.integers(-3, 0).map(str),
    st.integers(LARGEST_ID + 1, 2**66).map(str),
    st.sampled_from(["9" * 5000, "9223372036854775808", "18446744073709551617", "1.0"]),
)
MOVIES = {NARROW: pl.Series([1, 2, 3], dtype=pl.Int32), WIDE: pl.Series([1, 2, 3])}


def ratings(rows: list[tuple[int, int, int, int]], users: list[int], movies: list[int]):
    made = [
        (users[user], movies[movie], halves / 2, day * 86_400, line)
        for line, (user, movie, halves, day) in enumerate(rows, 2)
    ]
    bits = WIDE if max(*users, *movies) > max_id(NARROW) else NARROW
    return pl.DataFrame(made, schema=with_ids(RATING_SCHEMA, bits), orient="row")


def as_places(frame: pl.DataFrame, users: list[int], movies: list[int]) -> pl.DataFrame:
    return frame.with_columns(
        userId=pl.Series([users.index(user) for user in frame["userId"]], dtype=pl.Int32) + 1,
        movieId=pl.Series([movies.index(movie) for movie in frame["movieId"]], dtype=pl.Int32) + 1,
    )


@given(ROWS, POOLS, POOLS)
def test_long_ids_are_deduplicated_sorted_and_split_as_short_ones(
    rows: list[tuple[int, int, int, int]], users: list[int], movies: list[int]
) -> None:
    # No share rounds to no row, so that nobody is chosen by a hash of the id.
    cuts = Cuts(0.3, moment=4 * 86_400)
    places = list(range(1, 9))
    short, short_replaced = make_part(ratings(rows, places, places), cuts)
    long, long_replaced = make_part(ratings(rows, users, movies), cuts)
    assert as_places(long, users, movies).equals(short)
    assert as_places(long_replaced, users, movies).sort("line").equals(short_replaced.sort("line"))
    assert long.rows() == sorted(long.rows(), key=lambda row: (row[0], row[3], row[1]))


@given(ROWS, POOLS, POOLS)
def test_long_ids_give_the_same_matrix(
    rows: list[tuple[int, int, int, int]], users: list[int], movies: list[int]
) -> None:
    short, _ = make_part(ratings(rows, list(range(1, 9)), list(range(1, 9))), Cuts(0.3))
    long, _ = make_part(ratings(rows, users, movies), Cuts(0.3))
    made, expected = (
        FeedbackMatrix.from_interactions(with_kinds(each.lazy())) for each in (long, short)
    )
    assert [movies.index(movie) + 1 for movie in made.ids] == expected.ids.tolist()
    np.testing.assert_array_equal(made.by_user, expected.by_user)
    for ours, theirs in zip(made.blocks, expected.blocks, strict=True):
        np.testing.assert_array_equal(ours.toarray(), theirs.toarray())
    for ours, theirs in zip(made.kinds, expected.kinds, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("bits", [NARROW, WIDE])
@given(st.lists(NUMBERS, min_size=1, max_size=8))
@example([str(max_id(NARROW)), str(max_id(NARROW) + 1)])
@example([str(LARGEST_ID), str(LARGEST_ID + 1)])
def test_an_id_of_the_range_is_read_and_any_other_is_rejected(
    bits: IdBits, texts: list[str]
) -> None:
    lines = [f"{text},{movie},4.0,1000".encode() for text in texts for movie in (1, 2)]
    [batch] = read_ratings([b"userId,movieId,rating,timestamp\n", b"\n".join(lines)], MOVIES[bits])
    whole = [text for text in texts if text != "1.0"]
    valid = [int(text) for text in whole if len(text) < 30 and 1 <= int(text) <= max_id(bits)]
    assert batch.rows.schema == with_ids(RATING_SCHEMA, bits)
    assert sorted(batch.rows["userId"]) == sorted(valid * 2)
    expected = {
        Rule.USER_ID_RANGE: 2 * (len(whole) - len(valid)),
        Rule.WRONG_TYPE: 2 * (len(texts) - len(whole)),
    }
    assert dict(batch.rejected.counts) == {rule: n for rule, n in expected.items() if n}


@pytest.mark.parametrize("bits", [NARROW, WIDE])
def test_movies_have_the_width_of_the_setting(bits: IdBits) -> None:
    text = "movieId,title,genres\n" + "".join(
        f"{movie},One (1999),Drama\n" for movie in (7, 2**31, 2**62, 2**63 - 1, 2**63, 0, -1)
    )
    batch = read_movies([text.encode()], id_bits=bits)
    valid = [7, 2**31, 2**62, 2**63 - 1] if bits == WIDE else [7]
    assert batch.rows["movieId"].to_list() == valid
    assert batch.rejected.counts == {Rule.MOVIE_ID_RANGE: 7 - len(valid)}
