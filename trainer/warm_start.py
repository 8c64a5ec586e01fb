"""Variables of a finished fit of the towers, from which the fit of the served ones starts.

The served towers learn the ratings of the holdout in addition to those of the training part. Most
of what a second training from random numbers would learn is known already, so that a shorter one is
enough; docs/adr/0030-a-warm-start-serves.md compares both, and says why the rating model is fitted
anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data import Ids

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class WarmStart:
    """All variables of the ranking model of a fit.

    Attributes:
        user_ids: ids of the users in the training data, shape (users,), ascending.
        variables: by name, the optimizers' included; rows of movies are those of all movies.
    """

    user_ids: Ids
    variables: Arrays


def take_rows(found: NDArray[Any], found_ids: Ids, ids: Ids, initial: NDArray[Any]) -> NDArray[Any]:
    """Returns a table's rows in another order of ids.

    Args:
        found: one row for each of ``found_ids``.
        found_ids: ascending.
        ids: ids of the rows to return.
        initial: rows of the ids that are not among ``found_ids``, one for each of ``ids``.

    Returns:
        One row for each of ``ids``, in the type of ``initial``.
    """
    place = np.minimum(np.searchsorted(found_ids, ids), len(found_ids) - 1)
    known = found_ids[place] == ids
    rows = initial.copy()
    rows[known] = found[place[known]]
    return rows
