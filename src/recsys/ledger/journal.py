"""The promotion journal: one row for each promotion or rollback, open until it ends."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg.rows import class_row

from recsys.database import Connection
from recsys.ledger.actor import Actor, origin_of_run

Outcome = Literal["committed", "undone"]


@dataclass(frozen=True)
class Journal:
    """An open journal.

    Attributes:
        journal_id: its row.
        kind: ``promotion`` or ``rollback``.
        from_release: the champion when it was opened; None before the first promotion.
        to_release: the release to become the champion.
        actor: name of who opened it.
        origin: from where; None if it was opened before version 3 of the schema.
        reason: why.
        opened_at: when.
    """

    journal_id: int
    kind: str
    from_release: str | None
    to_release: str
    actor: str
    origin: str | None
    reason: str
    opened_at: datetime

    def document(self) -> dict[str, Any]:
        """Returns the fields that status and overview show."""
        fields = asdict(self)
        del fields["journal_id"]
        return fields


def open_journals(conn: Connection) -> list[Journal]:
    """Returns the journals of promotions and rollbacks that have not ended.

    The schema allows one at a time. If a journal is open, its change is in progress or was
    interrupted before its commit.
    """
    with conn.cursor(row_factory=class_row(Journal)) as cur:
        return cur.execute(
            "select id as journal_id, kind, from_release, to_release, actor, origin, reason, "
            "opened_at from recsys.journal where closed_at is null order by id"
        ).fetchall()


def journal_targets(conn: Connection) -> frozenset[str]:
    """Returns all releases that a promotion or rollback of this ledger has published."""
    rows = conn.execute("select distinct to_release from recsys.journal").fetchall()
    return frozenset(release_id for (release_id,) in rows)


def rollback_of_run(conn: Connection, run_id: str) -> tuple[str | None, str] | None:
    """Returns from which release to which one a DAG run rolled back; None if it has not."""
    return conn.execute(
        "select from_release, to_release from recsys.journal "
        "where kind = 'rollback' and outcome = 'committed' and origin = %s order by id limit 1",
        (origin_of_run(run_id),),
    ).fetchone()


def oldest_journal_age(conn: Connection) -> float:
    """Returns the age of the oldest open journal in seconds, by the server's clock; 0 if none."""
    [(now,)] = conn.execute("select clock_timestamp()").fetchall()
    return max(((now - each.opened_at).total_seconds() for each in open_journals(conn)), default=0)


def begin_journal(
    conn: Connection, kind: str, from_release: str | None, to_release: str, actor: Actor
) -> int:
    """Opens a journal and returns its id."""
    [(journal_id,)] = conn.execute(
        "insert into recsys.journal (kind, from_release, to_release, actor, origin, reason) "
        "values (%s, %s, %s, %s, %s, %s) returning id",
        (kind, from_release, to_release, actor.name, actor.origin, actor.reason),
    ).fetchall()
    return int(journal_id)


def close_journal(conn: Connection, journal_id: int, outcome: Outcome) -> bool:
    """Closes an open journal; returns False if it was closed already."""
    closed = conn.execute(
        "update recsys.journal set closed_at = clock_timestamp(), outcome = %s "
        "where id = %s and closed_at is null",
        (outcome, journal_id),
    )
    return closed.rowcount == 1


def journal_outcome(conn: Connection, journal_id: int) -> str | None:
    """Returns how a journal was closed; None while it is open."""
    row = conn.execute("select outcome from recsys.journal where id = %s", (journal_id,)).fetchone()
    return None if row is None else row[0]
