"""Ids of 32 or 64 bits in tables: their types, the order of pairs, and a hash that selects users.

Two ids of 32 bits fit into one integer, so pairs of them are compared and sorted as one. Pairs of
longer ids are compared by their columns.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.contract import NARROW, WIDE, IdBits

ID_TYPES: Final[dict[IdBits, pl.DataType]] = {NARROW: pl.Int32(), WIDE: pl.Int64()}
HASHES: Final = 2**32
"""Number of values of `place_of`."""
_PAIR: Final = ("userId", "movieId")


def id_type(*tables: pl.DataFrame) -> pl.DataType:
    """Returns a type that holds the ids of all tables: Int32 if they all have it, else Int64."""
    types = {frame.schema[column] for frame in tables for column in _PAIR if column in frame.schema}
    return ID_TYPES[NARROW if types <= {pl.Int32()} else WIDE]


def type_of_ids(ids: NDArray[np.integer[Any]]) -> pl.DataType:
    """Returns the type of a column of these ids."""
    return ID_TYPES[NARROW if ids.dtype == np.int32 else WIDE]


def with_id_type(frame: pl.DataFrame, kind: pl.DataType) -> pl.DataFrame:
    """Returns a table whose columns userId and movieId have a type.

    Raises:
        polars.exceptions.PolarsError: an id does not fit.
    """
    return frame.with_columns(pl.col(c).cast(kind) for c in _PAIR if c in frame.schema)


def pairs_ascend(frame: pl.DataFrame) -> bool:
    """Whether each row's pair of user and movie is greater than the one before.

    Args:
        frame: userId and movieId, positive.
    """
    if id_type(frame) == pl.Int32:
        pair = pl.col("userId").cast(pl.Int64) * 2**32 + pl.col("movieId")
        return bool(frame.select((pair.diff() > 0).all()).item())
    # Positive ids: no difference is out of range.
    user, movie = (pl.col(column).cast(pl.Int64).diff() for column in _PAIR)
    return bool(frame.select(((user > 0) | ((user == 0) & (movie > 0))).all()).item())


def has_repeated_pair(frame: pl.DataFrame) -> bool:
    """Whether a pair of userId and movieId, which are not null, occurs twice."""
    if id_type(frame) == pl.Int32:
        # Sorting one integer per pair needs a third of the memory of hashing the pairs.
        keys = frame["userId"].to_numpy().astype(np.int64)
        keys *= 2**32
        keys += frame["movieId"].to_numpy()
        keys.sort()
        return bool((keys[1:] == keys[:-1]).any())
    pairs = frame.select(_PAIR).sort(_PAIR)
    same = pl.all_horizontal(pl.col(column) == pl.col(column).shift() for column in _PAIR)
    return bool(pairs.select(same.any()).item())


def place_of(ids: Any) -> Any:
    """Returns a hash of positive ids from 0 to `HASHES` - 1, by which a share of them is chosen.

    Knuth's multiplicative hash (The Art of Computer Programming 3, 6.4). Both halves of an id
    count: of snowflakes, which begin with the time, the lower half may hardly differ.

    Args:
        ids: an array or an expression of polars, unsigned with 64 bits.
    """
    return (ids ^ (ids // 2**32)) * 2_654_435_761 % HASHES
