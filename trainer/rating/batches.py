"""Batches of the rating model: users are split into groups, a group's interactions into steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.config import RatingConfig
from trainer.data import Ints, Ratings

_STEPS_PER_EPOCH: Final = 12
_BATCH_LIMITS: Final = (64, 262_144)


@dataclass(frozen=True)
class Batch:
    """The data of one step: users, all their interactions, and those that are predicted.

    Attributes:
        users: indices of users, shape (users of the batch,).
        rows: indices of all interactions of these users, sorted by user.
        row_user: for each of ``rows``, the index of its user in ``users``, ascending.
        targets: indices in ``rows`` of the interactions to predict.
        target_user: for each of ``targets``, the index of its user in ``users``.
    """

    users: Ints
    rows: Ints
    row_user: Ints
    targets: Ints
    target_user: Ints


def epoch_batches(
    ratings: Ratings, config: RatingConfig, rng: np.random.Generator
) -> Iterator[Batch]:
    """Yields the batches of one epoch, in which every interaction is a target once.

    Users are randomly assigned to groups whose interactions fit in memory. The targets of a step
    are drawn from one group, so that a step sums each history only once.
    """
    size = batch_size(len(ratings), config)
    users = rng.permutation(len(ratings.user_ids))
    for group in user_groups(users, ratings, config.group_size):
        order = rng.permutation(len(group.rows))
        # Steps of equal size: the gradient of a small last one would be mostly noise.
        for chosen in np.array_split(order, -(-len(order) // size)):
            yield Batch(
                users=group.users,
                rows=group.rows,
                row_user=group.row_user,
                targets=chosen.astype(np.int32),
                target_user=group.row_user[chosen],
            )


def worker_share(batch: Batch, index: int, count: int) -> Batch:
    """Returns the part of a step that one of ``count`` workers computes: every n-th user's."""
    mine = np.arange(len(batch.users)) % count == index
    rows, targets = mine[batch.row_user], mine[batch.target_user]
    user_place, row_place = (np.cumsum(mask, dtype=np.int32) - 1 for mask in (mine, rows))
    return Batch(
        users=batch.users[mine],
        rows=batch.rows[rows],
        row_user=user_place[batch.row_user[rows]],
        targets=row_place[batch.targets[targets]],
        target_user=user_place[batch.target_user[targets]],
    )


def user_groups(users: NDArray[np.int64], ratings: Ratings, size: int) -> Iterator[Batch]:
    """Yields all interactions of these users in batches of about ``size`` interactions."""
    count = ratings.user_count[users]
    groups = -(-int(count.sum()) // size)
    group = (np.cumsum(count) - count) * groups // count.sum()
    bounds = np.searchsorted(group, np.arange(groups + 1))
    for first, last in pairwise(bounds):
        if first == last:
            continue
        members = np.sort(users[first:last])
        lengths = ratings.user_count[members]
        offset = np.cumsum(lengths) - lengths
        row_user = np.repeat(np.arange(len(members)), lengths)
        rows = np.arange(lengths.sum()) + (ratings.user_start[members] - offset)[row_user]
        all_rows, all_users = rows.astype(np.int32), row_user.astype(np.int32)
        indices = np.arange(len(all_rows), dtype=np.int32)
        yield Batch(members.astype(np.int32), all_rows, all_users, indices, all_users)


def batch_size(rows: int, config: RatingConfig) -> int:
    """Returns the number of targets per step."""
    low, high = _BATCH_LIMITS
    return config.batch_size or min(max(-(-rows // _STEPS_PER_EPOCH), low), high)


def steps_per_epoch(rows: int, config: RatingConfig) -> int:
    """Returns the number of steps per epoch, except for rounding within groups."""
    return -(-rows // batch_size(rows, config))
