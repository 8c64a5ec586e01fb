"""The overview for operators, read from one snapshot of the ledger."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from recsys import ledger
from recsys.contract import Baselines, Scores
from recsys.database import Connection
from recsys.gate import Decision, ForwardTest, consistency, coverage
from recsys.ledger import Action, ListedRelease, State
from recsys.monitoring.forward import proposed_rollback
from recsys.releases import public_copies_in_order
from recsys.services import Services

HISTORY_ROWS = 30
FORWARD_ROWS = 12
CHARTED = 30
"""Newest complete releases in the charts."""
_MAX_TARGETS = 50


class ReleaseSummary(BaseModel):
    """One release in the list of releases.

    Attributes:
        release_id: the release.
        state: its lifecycle state.
        dataset_md5: the dataset of its build.
        trainer_digest: the trainer image of its build.
        created_at: when its build began.
        promoted_at: when it last became champion; None: never.
        metrics: the model's metrics on its holdout, measured ones if there are any; empty before
            the release is complete.
        baselines: metrics of the baselines on the same holdout.
        is_measured: whether the verifier measured them; else the trainer stated them.
        holdout: identifies that holdout; metrics of two holdouts cannot be compared.
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
    holdout: str = ""
    is_measured: bool = False


class ReleaseQuery(BaseModel):
    """Which releases to list.

    Attributes:
        state: only those in this state; None: in all states.
        text: only those whose id, dataset md5 or run id contains it.
        page: number of the page, from 1.
        per_page: maximum number of releases on a page.
    """

    model_config = ConfigDict(frozen=True)

    state: State | None = None
    text: str = ""
    page: int = Field(default=1, ge=1, le=1_000_000)
    per_page: int = Field(default=25, ge=1, le=500)


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
        live: the champion as the list shows it; None before the first promotion.
        releases: one page, newest first.
        found: number of releases on all pages.
        query: which releases were asked for.
        state_counts: number of releases in each state.
        charted: the newest complete releases, newest first, without decisions.
        rollback_targets: earlier champions, the one promoted last first, without decisions.
        history: the newest events, newest first.
        outcomes: outcomes of the newest runs, by run id.
        forward: the newest forward tests, newest first.
        forward_coverage: by metric, how many champions kept the promised interval, of how many.
        forward_consistency: by metric, how many differ from the promise by no more than both are
            uncertain, of how many.
        proposed_rollback: the older release that surely beats the champion, and why; None: none.
    """

    model_config = ConfigDict(frozen=True)

    champion: str | None
    rollback_target: str | None
    open_journal: dict[str, Any] | None
    copies_in_order: bool
    last_success: datetime | None
    live: ReleaseSummary | None
    releases: list[ReleaseSummary]
    found: int
    query: ReleaseQuery
    state_counts: dict[State, int]
    charted: list[ReleaseSummary]
    rollback_targets: list[ReleaseSummary]
    history: list[dict[str, Any]]
    outcomes: dict[str, RunOutcome]
    forward: list[ForwardTest] = []
    forward_coverage: dict[str, tuple[int, int]] = {}
    forward_consistency: dict[str, tuple[int, int]] = {}
    proposed_rollback: tuple[str, str] | None = None

    @property
    def pages(self) -> int:
        """Number of pages; at least 1."""
        return max(1, -(-self.found // self.query.per_page))


def read_overview(services: Services, query: ReleaseQuery | None = None) -> Overview:
    """Reads one snapshot of the ledger; it is empty before the first run.

    Args:
        services: the servers.
        query: which releases to list; by default the first page of all.

    Raises:
        ServiceUnavailableError: PostgreSQL or S3 does not respond.
        LedgerError: the ledger's schema is older or newer than this code.
    """
    query = query or ReleaseQuery()
    with services.connect() as conn:
        if not ledger.applied(conn):
            return _empty(query, public_copies_in_order(services.store, None))
        ledger.check_current(conn)
        with conn.transaction():
            conn.execute("set transaction isolation level repeatable read, read only")
            champion, target = ledger.champion(conn), ledger.rollback_target(conn)
            live = ledger.listed_release(conn, champion.release_id) if champion else None
            releases = ledger.list_releases(
                conn,
                state=query.state,
                text=query.text,
                limit=query.per_page,
                offset=(query.page - 1) * query.per_page,
            )
            found = ledger.count_releases(conn, state=query.state, text=query.text)
            counts = ledger.state_counts(conn)
            charted = ledger.newest_measured(conn, CHARTED)
            targets = ledger.rollback_targets(conn, _MAX_TARGETS)
            journals = ledger.open_journals(conn)
            history = ledger.history(conn, limit=HISTORY_ROWS)
            last = ledger.last_success(conn)
            outcomes = _outcomes(conn)
            forward = [one.test for one in ledger.forward_tests(conn)]
            proposed = proposed_rollback(conn, champion)
    return Overview(
        champion=champion.release_id if champion else None,
        rollback_target=target.release_id if target else None,
        open_journal=journals[0].document() if journals else None,
        copies_in_order=public_copies_in_order(services.store, champion),
        last_success=last,
        live=_summary(live) if live else None,
        releases=[_summary(release) for release in releases],
        found=found,
        query=query,
        state_counts=counts,
        charted=[_summary(release) for release in charted],
        rollback_targets=[_summary(release) for release in targets],
        history=history,
        outcomes=outcomes,
        forward=forward[:FORWARD_ROWS],
        forward_coverage=coverage(forward),
        forward_consistency=consistency(forward),
        proposed_rollback=proposed,
    )


def _empty(query: ReleaseQuery, copies_in_order: bool) -> Overview:
    return Overview(
        champion=None,
        rollback_target=None,
        open_journal=None,
        copies_in_order=copies_in_order,
        last_success=None,
        live=None,
        releases=[],
        found=0,
        query=query,
        state_counts=dict.fromkeys(State, 0),
        charted=[],
        rollback_targets=[],
        history=[],
        outcomes={},
    )


def _summary(release: ListedRelease) -> ReleaseSummary:
    decision = release.decision
    return ReleaseSummary(
        release_id=release.release_id,
        state=release.state,
        dataset_md5=release.dataset_md5,
        trainer_digest=release.trainer_digest,
        created_at=release.created_at,
        promoted_at=release.promoted_at,
        metrics=Scores.model_validate(release.metrics),
        baselines=Baselines.model_validate(release.baselines),
        decision=None if decision is None else Decision.model_validate(decision),
        can_be_rolled_back_to=release.state in (State.SUPERSEDED, State.ROLLED_BACK),
        holdout=release.holdout,
        is_measured=release.is_measured,
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
