"""Deletes what runs write that go on after their release was deleted for an erased user.

A run that began before the request may upload its dataset or its features at any later time, and be
killed before it looks at the state of its release again. So every retirement deletes these.
"""

from __future__ import annotations

from datetime import timedelta

from recsys import ledger
from recsys.ledger import Actor
from recsys.releases.deletion import delete_raw_datasets
from recsys.releases.lock import deletion_lock
from recsys.releases.orphans import delete_orphans
from recsys.releases.recovery import Trace, ignore_step
from recsys.services import Services


def delete_erasure_leftovers(
    services: Services, *, actor: Actor, trace: Trace = ignore_step
) -> None:
    """Deletes raw datasets and orphans of any age, if users were ever erased. Idempotent.

    Raises:
        LedgerError: the bucket belongs to another ledger.
        LockedError: a retirement is deleting, or a build of a dataset begins.
    """
    with services.connect() as conn:
        if not ledger.newest_erasure(conn):
            return
    with deletion_lock(services) as conn:
        delete_raw_datasets(conn, services)
    trace("datasets deleted")
    delete_orphans(services, actor=actor, grace=timedelta(0))
    trace("orphans deleted")
