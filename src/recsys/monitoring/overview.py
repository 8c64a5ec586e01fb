"""Everything that an operator looks at first, in one reading of the ledger."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg.rows import dict_row
from pydantic import BaseModel, ConfigDict

from recsys import alerts, ledger
from recsys.database import Connection
from recsys.gate import Decision
from recsys.ledger import Release, State
from recsys.releases import public_copies_match
from recsys.services import Services

HISTORY_ROWS = 30


class ReleaseLine(BaseModel):
    """One release as a list shows it.

    Attributes:
        release_id: the release.
        state: where it is in its life.
        dataset_md5: what it was made of.
        trainer_digest: what it was made by.
        created_at: when its build began.
        promoted_at: when it last became champion; None: never.
        metrics: the candidate's own metrics on its holdout; empty before it is complete.
        baselines: those of the baselines on the same holdout.
        decision: the gate's newest decision; None: not judged yet.
        can_be_rolled_back_to: whether `recsys rollback --to` would take it.
    """

    model_config = ConfigDict(frozen=True)

    release_id: str
    state: State
    dataset_md5: str
    trainer_digest: str
    created_at: datetime
    promoted_at: datetime | None
    metrics: dict[str, Any]
    baselines: dict[str, Any]
    decision: Decision | None
    can_be_rolled_back_to: bool


class RunOutcome(BaseModel):
    """What a run did, by the ledger.

    Attributes:
        release_id: what it judged, or found judged before; None: it failed before it knew.
        done: accepted, rejected, nothing new or failed.
        reason: why.
    """

    model_config = ConfigDict(frozen=True)

    release_id: str | None
    done: str
    reason: str


class Overview(BaseModel):
    """The ledger at one moment.

    Attributes:
        champion: the release that is served.
        rollback_target: where a rollback without a name would go.
        open_journal: a promotion or rollback that is at work or was interrupted.
        copies_in_order: whether what S3 shows is the champion's.
        last_success: when a run last ended well.
        releases: newest first.
        history: the newest lines, newest first.
        outcomes: what the newest runs did, by run id.
    """

    model_config = ConfigDict(frozen=True)

    champion: str | None
    rollback_target: str | None
    open_journal: dict[str, Any] | None
    copies_in_order: bool
    last_success: datetime | None
    releases: list[ReleaseLine]
    history: list[dict[str, Any]]
    outcomes: dict[str, RunOutcome]


def read_overview(services: Services) -> Overview:
    """Reads the ledger in one snapshot; an empty one before the first run.

    Raises:
        ServiceUnavailableError: PostgreSQL or S3 does not answer.
        LedgerError: the ledger belongs to another revision of this software.
    """
    with services.connect() as conn:
        if not ledger.applied(conn):
            return _empty(public_copies_match(services.store, None))
        ledger.check_current(conn)
        with conn.transaction():
            conn.execute("set transaction isolation level repeatable read, read only")
            champion, target = ledger.champion(conn), ledger.rollback_target(conn)
            releases = ledger.all_releases(conn)
            decisions = _decisions(conn)
            journal = _open_journal(conn)
            history = ledger.history(conn, limit=HISTORY_ROWS)
            last = ledger.last_success(conn)
            outcomes = _outcomes(conn)
    return Overview(
        champion=champion.release_id if champion else None,
        rollback_target=target.release_id if target else None,
        open_journal=journal,
        copies_in_order=public_copies_match(services.store, champion),
        last_success=last,
        releases=[_line(release, decisions.get(release.release_id)) for release in releases],
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


def _line(release: Release, decision: Decision | None) -> ReleaseLine:
    metrics = (release.manifest or {}).get("metrics", {})
    return ReleaseLine(
        release_id=release.release_id,
        state=release.state,
        dataset_md5=release.dataset_md5,
        trainer_digest=release.build["trainer_digest"],
        created_at=release.created_at,
        promoted_at=release.promoted_at,
        metrics=metrics.get("model", {}),
        baselines=metrics.get("baselines", {}),
        decision=decision,
        can_be_rolled_back_to=release.state in (State.SUPERSEDED, State.ROLLED_BACK),
    )


def _decisions(conn: Connection) -> dict[str, Decision]:
    """The newest decision about each release."""
    rows = conn.execute(
        "select distinct on (release_id) release_id, decision from recsys.decisions "
        "order by release_id, id desc"
    ).fetchall()
    return {release_id: Decision.model_validate(decision) for release_id, decision in rows}


def _outcomes(conn: Connection) -> dict[str, RunOutcome]:
    """What runs did; of a run that judged and then failed, that it failed."""
    judged = conn.execute(
        "select run_id, release_id, decision from recsys.decisions "
        "where decision ->> 'override' is null order by id desc limit %s",
        (HISTORY_ROWS,),
    ).fetchall()
    outcomes = {}
    for run_id, release_id, stored in reversed(judged):
        decision = Decision.model_validate(stored)
        done = "accepted" if decision.accepted else "rejected"
        outcomes[run_id] = RunOutcome(release_id=release_id, done=done, reason=decision.reason)
    noted = conn.execute(
        "select action, release_id, reason, detail ->> 'run_id' from recsys.history "
        "where action = any(%s) order by id desc limit %s",
        ([ledger.NOTHING_NEW, alerts.RUN_FAILED], HISTORY_ROWS),
    ).fetchall()
    for action, release_id, reason, run_id in noted:
        if action == alerts.RUN_FAILED:
            outcomes[run_id] = RunOutcome(release_id=release_id, done="failed", reason=reason)
        else:
            # The line's whole reason is the run.
            outcomes.setdefault(
                reason.removeprefix("run "),
                RunOutcome(
                    release_id=release_id,
                    done="nothing new",
                    reason="the build was judged before",
                ),
            )
    return outcomes


def _open_journal(conn: Connection) -> dict[str, Any] | None:
    with conn.cursor(row_factory=dict_row) as cur:
        return cur.execute(
            "select kind, from_release, to_release, actor, reason, opened_at "
            "from recsys.journal where closed_at is null"
        ).fetchone()
