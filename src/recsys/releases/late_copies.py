"""Finds what changes the public copies after the recovery from an interrupted promotion.

A process that dies has perhaps just sent the copy of its model to the public key. If it is delayed
and arrives after the recovery, it fails (see `public_copies`). But a server may have begun a copy
before the recovery and end it afterwards, and a deletion cannot be fenced off. S3 has no means
against that on all servers: a condition on the content does not help, because recovery restores the
content that was there before. So recovery looks again for a while, without the lock, and repairs
what it finds.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Final

from recsys import ledger
from recsys.errors import LockedError
from recsys.ledger import Actor
from recsys.releases.public_copies import public_copies_match
from recsys.releases.recovery import Recovery, Trace, ignore_step, recover_promotion
from recsys.services import Services

log = logging.getLogger(__name__)

_WATCH_S: Final = 10.0
_PAUSE_S: Final = 0.5


def recover_and_watch(
    services: Services, *, actor: Actor, trace: Trace = ignore_step, watch_s: float = _WATCH_S
) -> Recovery:
    """Recovers as `recover_promotion` does; after an interruption, also from a late copy.

    Args:
        services: the servers.
        actor: who recovers, and why.
        trace: called with the name of each step.
        watch_s: seconds to look for a late copy, if a promotion was undone. One that arrives later
            is repaired by the next recovery.

    Raises:
        LedgerError, ArtifactError, VectorError: as `recover_promotion`.
    """
    done = recover_promotion(services, actor=actor, trace=trace)
    if done.undone is None or not _arrives_late(services, watch_s):
        return done
    log.warning("a copy of the undone release %s arrived late", done.undone)
    late = actor.because("a copy of the interrupted promotion arrived late")
    try:
        again = recover_promotion(services, actor=late, trace=trace)
    except LockedError as error:
        # The process that holds the lock makes the public copies right.
        log.warning("left the late copy to another process: %s", error)
        return done
    return replace(done, names_restored=done.names_restored or again.names_restored)


def _arrives_late(services: Services, seconds: float) -> bool:
    """Whether the public copies stop matching the champion within some seconds."""
    end = time.monotonic() + seconds
    while True:
        with services.connect() as conn:
            if ledger.open_journals(conn):
                return False  # Another promotion has begun, which writes to the public key.
            if not public_copies_match(services.store, ledger.champion(conn)):
                return True
        if time.monotonic() >= end:
            return False
        time.sleep(_PAUSE_S)
