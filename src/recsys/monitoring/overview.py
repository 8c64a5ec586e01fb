"""The overview for operators, read from one snapshot of the ledger."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from recsys import ledger
from recsys.contract import Baselines, Scores
from recsys.database import Connection
from recsys.gate import Decision
from recsys.ledger import Action, Release, State
from recsys.releases import public_copies_match
from recsys.services import Services

HISTORY_ROWS = 30


class ReleaseSummary(BaseModel):
    """One release in the list of releases.

    Attributes:
        release_id: the release.
        state: its lifecycle state.
        dataset_md5: the dataset of its build.
        trainer_digest: the trainer image of its build.
        created_at: when its build began.
        promoted_at: when it last became champion; None: never.
        metrics: the model's metrics on its holdout; empty before the release is complete.
        baselines: metrics of the baselines on the same holdout.
        decision: the gate's newest decision; None: not judged yet.
        can_be_rolled_back_to: whether `recsys rollback --to` accepts it.
    """

    model_config = ConfigDict(frozen=True)

    release_id: str
    state: State
    dataset_md5: str
    trainer_digest: str
    created_at: datetime
    promoted_at: datetime | None
    metrics: Scores
    baselines: Baselines
    decision: Decision | None
    can_be_rolled_back_to: bool


class RunOutcome(BaseModel):
    """The outcome of a run as recorded in the ledger.

    Attributes:
        release_id: the release of its build; None if the run failed.
        done: accepted, rejected, nothing new or failed.
        reason: why.
    """

    model_config = ConfigDict(frozen=True)

    release_id: str | None
    done: str
    reason: str


class Overview(BaseModel):
    """A snapshot of the ledger.

    Attributes:
        champion: the release that is served.
        rollback_target: the release that a rollback selects by default.
        open_journal: a promotion or rollback that is in progress or was interrupted.
        copies_in_order: whether the public copies in S3 are the champion's.
        last_success: when a run last succeeded.
        releases: newest first.
        history: the newest events, newest first.
        outcomes: outcomes of the newest runs, by run id.
    """

    model_config = ConfigDict(frozen=True)

    champion: str | None
    rollback_target: str | None
    open_journal: dict[str, Any] | None
    copies_in_order: bool
    last_success: datetime | None
    releases: list[ReleaseSummary]
    history: list[dict[str, Any]]
    outcomes: dict[str, RunOutcome]


def read_overview(services: Services) -> Overview:
    """Reads one snapshot of the ledger; it is empty before the first run.

    Raises:
        ServiceUnavailableError: PostgreSQL or S3 does not respond.
        LedgerError: the ledger's schema is older or newer than this code.
    """
    with services.connect() as conn:
        if not ledger.applied(conn):
            return _empty(public_copies_match(services.store, None))
        ledger.check_current(conn)
        with conn.transaction():
            conn.execute("set transaction isolation level repeatable read, read only")
            champion, target = ledger.champion(conn), ledger.rollback_target(conn)
            releases = ledger.all_releases(conn)
            decisions = ledger.last_decisions(conn)
            journals = ledger.open_journals(conn)
            history = ledger.history(conn, limit=HISTORY_ROWS)
            last = ledger.last_success(conn)
            outcomes = _outcomes(conn)
    return Overview(
        champion=champion.release_id if champion else None,
        rollback_target=target.release_id if target else None,
        open_journal=journals[0].document() if journals else None,
        copies_in_order=public_copies_match(services.store, champion),
        last_success=last,
        releases=[_summary(release, decisions.get(release.release_id)) for release in releases],
        history=history,
        outcomes=outcomes,
    )


def _empty(copies_in_order: bool) -> Overview:
    return Overview(
        champion=None,
        rollback_target=None,
        open_journal=None,
        copies_in_order=copies_in_order,
        last_success=None,
        releases=[],
        history=[],
        outcomes={},
    )


def _summary(release: Release, decision: Decision | None) -> ReleaseSummary:
    # Not all metrics, which would take a second for hundreds of releases.
    metrics = release.manifest["metrics"] if release.manifest else {}
    return ReleaseSummary(
        release_id=release.release_id,
        state=release.state,
        dataset_md5=release.dataset_md5,
        trainer_digest=release.build["trainer_digest"],
        created_at=release.created_at,
        promoted_at=release.promoted_at,
        metrics=Scores.model_validate(metrics.get("model")),
        baselines=Baselines.model_validate(metrics.get("baselines")),
        decision=decision,
        can_be_rolled_back_to=release.state in (State.SUPERSEDED, State.ROLLED_BACK),
    )


def _outcomes(conn: Connection) -> dict[str, RunOutcome]:
    """Returns the outcomes of the newest runs; a failure outweighs a decision before it."""
    outcomes = {}
    for run_id, release_id, decision in reversed(ledger.run_decisions(conn, HISTORY_ROWS)):
        done = "accepted" if decision.accepted else "rejected"
        outcomes[run_id] = RunOutcome(release_id=release_id, done=done, reason=decision.reason)
    for event in ledger.run_events(conn, (Action.NOTHING_NEW, Action.RUN_FAILED), HISTORY_ROWS):
        release_id, reason = event["release_id"], event["reason"]
        if event["action"] == Action.RUN_FAILED:
            outcomes[event["run_id"]] = RunOutcome(
                release_id=release_id, done="failed", reason=reason
            )
        else:
            outcomes.setdefault(
                event["run_id"],
                RunOutcome(release_id=release_id, done="nothing new", reason=reason),
            )
    return outcomes
