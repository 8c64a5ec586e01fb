"""Splits the interactions: training part, each user's newest ratings, and what is after a moment.

One fit to the training part is evaluated on two holdouts: *newest ratings* (the rows marked
``holdout``) and *moment* (all rows from one moment on, whatever their mark). So no training row is
at or after the moment, and none is at or after a holdout row of the same user.
docs/adr/0023-two-holdouts.md has the reasons and what leaks in each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.evaluation import HASHES, id_type, pairs_ascend, place_of

SPLIT: Final = pl.Enum(["train", "holdout", "later"])
"""``later``: at or after the moment, and not among the user's newest ratings."""
DAY: Final = 86_400


@dataclass(frozen=True)
class Cuts:
    """Where the interactions are cut.

    Attributes:
        holdout_share: share of each user's newest ratings, between 0 and 0.5.
        moment: seconds since 1970; None: no row is marked ``later``.
        single_day: whether all rows are of one day, as in a dump without times.
    """

    holdout_share: float
    moment: int | None = None
    single_day: bool = False


def rows_by_day(timestamps: pl.LazyFrame) -> pl.LazyFrame:
    """Returns ``day`` (days since 1970) and ``len``, the number of rows of that day."""
    return timestamps.group_by(day=pl.col("timestamp").cast(pl.Int64) // DAY).len()


def find_moment(days: pl.DataFrame, share: float) -> int | None:
    """Returns the earliest start of a day (UTC) from which on at most a share of the rows is.

    Args:
        days: day, len: see `rows_by_day`, in any order.
        share: largest share of all rows at or after the moment.

    Returns:
        Seconds since 1970; None if the last day alone has more rows, or if no row is earlier.
    """
    days = days.sort("day")
    later = days["len"].cast(pl.Int64).reverse().cum_sum().reverse()
    fitting = days.filter(later <= share * int(days["len"].sum()))
    if fitting.is_empty() or fitting.height == days.height:
        return None
    return int(fitting["day"][0]) * DAY


def split_rows(rows: pl.DataFrame, cuts: Cuts) -> pl.DataFrame:
    """Sorts by (userId, timestamp, movieId) and marks each row as one part of the split.

    - ``holdout``: the newest ratings of each user with a training row. Of n rows these are the last
      ``floor(n * share + 0.5)``; the cut is then moved to the nearest change of the timestamp (to
      the later one if two are equally near), so that ratings of one second stay together. At most
      half of a user's rows are held out. A user whose share rounds to 0 has one held-out row with
      the probability ``n * share``, by a hash of the id, so that users with few ratings are
      evaluated too. In a dataset of a single day, a user whose ratings are all of one second is
      cut by movieId: a dump without times has no other order.
    - ``later``: all other rows at or after the moment. A user without an earlier row has only such.
    - ``train``: all other rows.

    The order is total, because a user rates a movie once. So the split does not depend on the order
    of the input, and not on other users except by the moment.

    Args:
        rows: columns userId, movieId and timestamp, and any others; each pair of user and movie
            once, all rows of each user.
        cuts: where to cut.

    Returns:
        The rows, sorted, with the column ``split``.
    """
    rows = _sorted(rows)
    user, time = rows["userId"].to_numpy(), rows["timestamp"].to_numpy().astype(np.int64)
    # In sorted rows, runs are users; they cost less than window functions (3 s at 32 million).
    begin = np.flatnonzero(np.diff(user, prepend=user[:1] - 1))
    count = np.diff(begin, append=len(user))
    held = _held_rows(user[begin], begin, count, time, cuts)
    in_holdout = np.arange(len(user)) >= np.repeat(begin + count - held, count)
    if cuts.moment is None:
        later = np.zeros(len(user), np.bool_)
    else:
        later = time >= cuts.moment
        in_holdout &= ~np.repeat(later[begin], count)
    part = np.where(in_holdout, 1, np.where(later, 2, 0))
    return rows.with_columns(split=pl.Series(SPLIT.categories, dtype=SPLIT).gather(part))


def _sorted(rows: pl.DataFrame) -> pl.DataFrame:
    """Sorts by (userId, timestamp, movieId)."""
    seconds = pl.col("timestamp").cast(pl.Int64).is_between(0, 2**32 - 1)
    if id_type(rows) != pl.Int32 or not pairs_ascend(rows) or not rows.select(seconds.all()).item():
        return rows.sort("userId", "timestamp", "movieId")
    # Rows come in this order, and a stable sort keeps it among ratings of one second. Merging runs
    # that are in order by user costs little: a quarter of the time of sorting by three columns.
    moment = pl.col("userId").cast(pl.Int64) * 2**32 + pl.col("timestamp").cast(pl.Int64)
    order = rows.select(moment).to_series().to_numpy().argsort(kind="stable")
    return rows.select(pl.all().gather(pl.Series(order)))


def _held_rows(
    users: NDArray[np.integer[Any]],
    begin: NDArray[np.int64],
    count: NDArray[np.int64],
    time: NDArray[np.int64],
    cuts: Cuts,
) -> NDArray[np.int64]:
    """Returns the number of held-out rows of each user; a cut is where the timestamp changes."""
    share = cuts.holdout_share
    wanted = np.floor(count * share + 0.5).astype(np.int64)
    place = place_of(users.astype(np.uint64))
    wanted[(wanted == 0) & (place < count * share * HASHES)] = 1

    end, n = begin + count, len(time)
    cut = end - wanted
    first_of_run = np.diff(time, prepend=time[:1] - 1) != 0
    first_of_run[begin] = True
    at = np.arange(n)
    before = np.maximum.accumulate(np.where(first_of_run, at, 0))
    after = np.minimum.accumulate(np.where(first_of_run, at, n)[::-1])[::-1]
    inside = np.minimum(cut, n - 1)
    down, up = before[inside], after[inside]
    down_fits = (wanted > 0) & (down > begin) & (end - down <= count // 2)
    up_fits = (wanted > 0) & (up > begin) & (up < end)
    nearer = down_fits & (~up_fits | (cut - down < up - cut))
    held = np.where(nearer, end - down, np.where(up_fits, end - up, 0))
    if cuts.single_day:
        held = np.where(time[begin] == time[end - 1], np.minimum(wanted, count // 2), held)
    return held
