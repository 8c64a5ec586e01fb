"""Names of the events in the ledger's history."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """Every event of the history. The values are stored; migration 3 renamed the older ones."""

    MOVED = "moved"
    """A release changed its state; written by a trigger."""
    NOTHING_NEW = "nothing_new"
    """A run found that its build was judged before."""
    RUN_FAILED = "run_failed"
    RUN_LATE = "run_late"
    PROMOTION_UNDONE = "promotion_undone"
    ROLLBACK_UNDONE = "rollback_undone"
    PUBLIC_COPIES_REPAIRED = "public_copies_repaired"
    REJECTED_AGAIN = "rejected_again"
    """A forced run rejected a release that is or was the champion; its state stays."""
    GATE_OVERRIDDEN = "gate_overridden"
    PRODUCTION_UPDATED = "production_updated"
    """A run made the release of a dataset the champion."""
