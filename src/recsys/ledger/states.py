"""Lifecycle states of a release and the transitions between them."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Lifecycle state of a release."""

    BUILDING = "building"
    CANDIDATE = "candidate"
    REJECTED = "rejected"
    CHAMPION = "champion"
    SUPERSEDED = "superseded"
    """Was champion until another release was promoted."""
    ROLLED_BACK = "rolled_back"
    """Was champion until it was rolled back; never promoted again automatically."""
    ABANDONED = "abandoned"
    """Its run ended without a manifest, was stopped, or refused the dataset."""
    RETIRING = "retiring"
    """Its tables and objects are being dropped."""
    RETIRED = "retired"


NEW: Final = "new"
"""The state in `MOVES` of a release that is not in the ledger yet."""

MOVES: Final[dict[str, frozenset[State]]] = {
    NEW: frozenset({State.BUILDING}),
    State.BUILDING: frozenset({State.CANDIDATE, State.ABANDONED}),
    State.CANDIDATE: frozenset({State.CHAMPION, State.REJECTED, State.ABANDONED}),
    # Back to candidate only by a person's override, see `recsys.releases.authority`.
    State.REJECTED: frozenset({State.BUILDING, State.CANDIDATE, State.RETIRING}),
    State.CHAMPION: frozenset({State.SUPERSEDED, State.ROLLED_BACK}),
    State.SUPERSEDED: frozenset({State.CHAMPION, State.RETIRING}),
    State.ROLLED_BACK: frozenset({State.CHAMPION, State.RETIRING}),
    State.ABANDONED: frozenset({State.BUILDING, State.RETIRING}),
    State.RETIRING: frozenset({State.RETIRED}),
    State.RETIRED: frozenset({State.BUILDING}),
}
"""Allowed transitions; the database has a copy of this table and enforces it."""

SERVABLE: Final = frozenset({State.CANDIDATE, State.CHAMPION, State.SUPERSEDED, State.ROLLED_BACK})
"""States in which a release is complete and may be promoted or rolled back to."""
TERMINAL: Final = frozenset(s for s, to in MOVES.items() if State.RETIRING in to)
"""States from which a release may be retired."""
