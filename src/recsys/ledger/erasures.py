"""Requests to erase users: who is asked for, which releases may know them, what is completed.

Requests are never deleted, so that no later dump brings a user back. A request holds the id only
while it is pending.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import psycopg
from psycopg.rows import class_row

from recsys.database import Connection
from recsys.errors import LedgerError, LockedError
from recsys.ledger.actor import Actor

_LOCK: Final = 0x5EC5_0005


@dataclass(frozen=True)
class Erasure:
    """A request to erase a user.

    Attributes:
        number: its place in the list.
        requested_at: when it was recorded.
        user_hash: the keyed hash of the id, 32 bytes.
        digest: identifies the list up to this request, 64 hex digits.
        user_id: the user; None when the request is completed.
        completed_at: when no trace was left; None while it is pending.
    """

    number: int
    requested_at: datetime
    user_hash: bytes
    digest: str
    user_id: int | None
    completed_at: datetime | None

    @property
    def is_pending(self) -> bool:
        """Whether something may still know the user."""
        return self.completed_at is None


def erasure_key(conn: Connection) -> bytes:
    """Returns the key of the hashes.

    Raises:
        LedgerError: somebody deleted it.
    """
    row = conn.execute("select key from recsys.erasure_key").fetchone()
    if row is None:
        raise LedgerError(
            "the key of the erased users' hashes is missing",
            found="no row in recsys.erasure_key",
            hint="restore the table from a backup: without it, erased users cannot be recognized",
        )
    return bytes(row[0])


def erasures(conn: Connection, upto: str | None = None) -> list[Erasure]:
    """Returns all requests, oldest first.

    Args:
        conn: the ledger.
        upto: digest of the last one to return; all if not given.

    Raises:
        LedgerError: no list has this digest.
    """
    with conn.cursor(row_factory=class_row(Erasure)) as cursor:
        found = cursor.execute(
            "select number, requested_at, user_hash, digest, user_id, completed_at "
            "from recsys.erased_users order by number"
        ).fetchall()
    if upto is None:
        return found
    for place, erasure in enumerate(found, 1):
        if erasure.digest == upto:
            return found[:place]
    raise LedgerError(
        "the build names a list of erased users that this ledger does not have",
        found=f"digest {upto}",
        expected="a digest of recsys.erased_users",
        hint="the ledger may have been restored from an older backup: record the requests again",
    )


def newest_erasure(conn: Connection) -> int:
    """Returns the number of the newest request; 0 if there is none."""
    [(number,)] = conn.execute(
        "select coalesce(max(number), 0) from recsys.erased_users"
    ).fetchall()
    return int(number)


def erasures_covered(conn: Connection, digest: str | None) -> int:
    """Returns the number of the newest request that a build with this digest leaves out."""
    if digest is None:
        return 0
    row = conn.execute(
        "select number from recsys.erased_users where digest = %s", (digest,)
    ).fetchone()
    return int(row[0]) if row else 0


def hold_erasures(conn: Connection, digest: str | None) -> int:
    """Lets no request be recorded until the caller's transaction ends.

    Args:
        conn: the ledger.
        digest: of the list that a build leaves out.

    Returns:
        The number of the newest request, which this list ends with.

    Raises:
        LockedError: a request was recorded since this list was read.
    """
    try:
        conn.execute("select pg_advisory_xact_lock_shared(%s)", (_LOCK,))
    except psycopg.errors.LockNotAvailable as error:
        raise LockedError("a request to erase users is being recorded", hint="retry") from error
    covered, newest = erasures_covered(conn, digest), newest_erasure(conn)
    if covered < newest:
        raise LockedError(
            "users were erased while this build began",
            found=f"a list of {covered} erased users",
            expected=f"the list of {newest}",
            hint="try again: the run then leaves them out",
        )
    return covered


def request_erasures(conn: Connection, hashes: Mapping[int, bytes], *, actor: Actor) -> list[int]:
    """Records requests in the caller's transaction; returns the users whose request is new.

    A user of a completed request, who was found again, is pending again. One of a pending request
    stays as it is.

    Args:
        conn: the ledger.
        hashes: the keyed hash of each user, by id.
        actor: who asks, and why.
    """
    conn.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
    known = {erasure.user_hash: erasure for erasure in erasures(conn)}
    digest = max(known.values(), key=lambda e: e.number).digest if known else ""
    new = []
    for user_id, user_hash in sorted(hashes.items()):
        erasure = known.get(user_hash)
        if erasure is None:
            digest = hashlib.sha256(bytes.fromhex(digest) + user_hash).hexdigest()
            conn.execute(
                "insert into recsys.erased_users "
                "(actor, origin, reason, user_hash, digest, user_id) "
                "values (%s, %s, %s, %s, %s, %s)",
                (actor.name, actor.origin, actor.reason, user_hash, digest, user_id),
            )
            new.append(user_id)
        elif not erasure.is_pending:
            conn.execute(
                "update recsys.erased_users set user_id = %s, completed_at = null "
                "where number = %s",
                (user_id, erasure.number),
            )
            # A search that found nothing then proves nothing now; a build without the user does.
            conn.execute(
                "update recsys.releases r set erasures_covered = %(number)s - 1 "
                "where erasures_covered >= %(number)s and not exists ("
                "select from recsys.erased_users e where e.number >= %(number)s "
                "and e.digest = r.build #>> '{settings,features,erased}')",
                {"number": erasure.number},
            )
            new.append(user_id)
    return new


def complete_erasures(conn: Connection, numbers: Iterable[int]) -> None:
    """Completes pending requests in the caller's transaction: the ids are gone."""
    conn.execute(
        "update recsys.erased_users set user_id = null, completed_at = clock_timestamp() "
        "where number = any(%s) and completed_at is null",
        (list(numbers),),
    )


def forget_erased_ids(conn: Connection) -> None:
    """Removes what the database still stores of the ids of completed requests, outside of a backup.

    An update leaves the row before it in the table until it is vacuumed, and the planner's
    statistics have samples of a column.
    """
    conn.execute("vacuum (freeze, analyze) recsys.erased_users")


def cover_erasures(conn: Connection, release_id: str, number: int) -> None:
    """Records that a release knows no erased user up to this number."""
    conn.execute(
        "update recsys.releases set erasures_covered = %s "
        "where release_id = %s and erasures_covered < %s",
        (number, release_id, number),
    )
