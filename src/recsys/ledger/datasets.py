"""Datasets that releases share: whether one is still used, and who may delete it.

A build begins and a dataset is deleted under the same advisory lock. So no build begins with files
that are about to be deleted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import psycopg

from recsys.database import Connection
from recsys.errors import LockedError
from recsys.ledger.states import State

_LOCK_CLASS: Final = 0x5EC5_0004


@dataclass(frozen=True)
class Unused:
    """Which files of a retiring release no other release needs.

    Attributes:
        dataset: the raw dataset, and everything that was made from it with any settings.
        features: the features of this release.
    """

    dataset: bool
    features: bool


def hold_dataset(conn: Connection, dataset_md5: str) -> None:
    """Keeps the files of a dataset until the caller's transaction ends; waits for a deletion.

    Raises:
        LockedError: they are still being deleted.
    """
    try:
        conn.execute(
            "select pg_advisory_xact_lock_shared(%s::int, %s::int)",
            (_LOCK_CLASS, _lock_number(dataset_md5)),
        )
    except psycopg.errors.LockNotAvailable as error:
        raise LockedError(
            f"the files of dataset {dataset_md5} are being deleted",
            hint="retry when retirement has ended; the run then fetches the dataset again",
        ) from error


@contextmanager
def deleting_dataset(conn: Connection, dataset_md5: str, release_id: str) -> Iterator[Unused]:
    """Yields which files of a retiring release's dataset may be deleted.

    Until the block ends, no build of the dataset begins.

    Raises:
        LockedError: a build of this dataset has been beginning for too long.
    """
    with no_build_begins(conn, dataset_md5):
        others = conn.execute(
            "select other.features_prefix is not distinct from own.features_prefix "
            "from recsys.releases other, recsys.releases own where own.release_id = %s "
            "and other.dataset_md5 = %s and other.state <> %s and other.release_id <> %s",
            (release_id, dataset_md5, State.RETIRED.value, release_id),
        ).fetchall()
        yield Unused(dataset=not others, features=not any(same for (same,) in others))


@contextmanager
def no_build_begins(conn: Connection, digits: str) -> Iterator[None]:
    """Lets no build begin whose dataset's md5 begins with 8 hex digits, until the block ends.

    Args:
        conn: the session that holds the lock.
        digits: an md5 or a release id, which both begin with these digits.

    Raises:
        LockedError: such a build has been beginning for too long.
    """
    key = (_LOCK_CLASS, _lock_number(digits))
    try:
        conn.execute("select pg_advisory_lock(%s::int, %s::int)", key)
    except psycopg.errors.LockNotAvailable as error:
        raise LockedError(f"a build of dataset {digits[:8]}... begins", hint="try again") from error
    try:
        yield
    finally:
        # The end of a broken session releases it, too.
        if not conn.broken and not conn.closed:
            conn.execute("select pg_advisory_unlock(%s::int, %s::int)", key)


def _lock_number(digits: str) -> int:
    """Returns a signed number of 32 bits; two datasets with the same one only wait for another."""
    return int.from_bytes(bytes.fromhex(digits[:8]), "big", signed=True)
