"""Which users of a large holdout are ranked.

A ranking scores every movie for a user: 200,000 users and 87,000 movies have 17 billion scores. So
rating errors are measured on all pairs of a holdout, and rankings for a sample of its users.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

MAX_RANKED_USERS: Final = 20_000

_Id = TypeVar("_Id", bound=np.integer[Any])
_Hashes = NDArray[np.uint64]


def ranked_sample(user_ids: NDArray[_Id], most: int = MAX_RANKED_USERS) -> NDArray[_Id]:
    """Returns the ids of the users who are ranked: all, or ``most`` of them, by a hash of the id.

    The same users are chosen from the same ids everywhere, and mostly the same from a later
    dataset's, so that candidate and champion are compared on them.

    Args:
        user_ids: ids, each once.
        most: largest number of users.

    Returns:
        Ids, ascending.
    """
    if len(user_ids) > most:
        user_ids = user_ids[np.argpartition(_hashes(user_ids), most - 1)[:most]]
    return np.sort(user_ids)


def _hashes(ids: NDArray[np.integer[Any]]) -> _Hashes:
    """The finalizer of SplitMix64 (Steele et al., OOPSLA 2014): no two ids have the same hash.

    The hash that chooses held-out users with few ratings (`recsys.features.split`) would prefer
    these users.
    """
    mixed = ids.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))
