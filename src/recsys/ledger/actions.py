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
    PUBLIC_NAMES_REPAIRED = "public_names_repaired"
    """The views of the champion's tables were made again."""
    SEARCH_PATH_CHANGED = "search_path_changed"
    """The public names were added to the default search path of the database."""
    BUCKET_ADOPTED = "bucket_adopted"
    """A person connected this ledger with a bucket of another one."""
    LEDGER_IMPORTED = "ledger_imported"
    """A person moved the ledger to this database; what is older happened in another one."""
    ORPHANS_DELETED = "orphans_deleted"
    """A person deleted tables and objects that no release, build or journal knows."""
    REJECTED_AGAIN = "rejected_again"
    """A forced run rejected a release that is or was the champion; its state stays."""
    GATE_OVERRIDDEN = "gate_overridden"
    CHAMPION_DECAYED = "champion_decayed"
    """On newer ratings the champion is surely worse than its metrics promised."""
    ALREADY_CHAMPION = "already_champion"
    """A run's promotion changed nothing: its release was the champion, as after a retry."""
    RELEASE_SIGNED = "release_signed"
    """A release got a signature, from its run or from a person."""
    ERASURE_REQUESTED = "erasure_requested"
    """Users are to be erased; the public tables answer without them from now on."""
    ERASURE_COMPLETED = "erasure_completed"
    """No trace of the users is left; the history names the request, never the user."""
    PRODUCTION_UPDATED = "production_updated"
    """A run made the release of a dataset the champion."""
