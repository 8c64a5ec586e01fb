"""The operations of the protocol, by name, for child processes."""

from __future__ import annotations

from typing import Any

from recsys import ledger, releases
from recsys.releases import RetentionSettings
from recsys.releases.recovery import Trace
from recsys.services import Services
from tests.actors import an_actor
from tests.release_maker import Releases


def decide(services: Services, name: str, release_id: str | None) -> None:
    """Records that the gate accepts a complete release, if the operation makes it champion."""
    if name in ("promote", "rollback") and release_id is not None:
        with services.connect() as conn:
            is_servable = ledger.get(conn, release_id).state in ledger.SERVABLE
        if is_servable:
            Releases(services).judge(release_id, "chaos")


def run(services: Services, name: str, release_id: str | None, trace: Trace) -> Any:
    """Runs an operation.

    Args:
        services: PostgreSQL and S3.
        name: promote, rollback, recover, retire, erase (records a request) or finish (an erasure).
        release_id: which release; None for recover, retire and finish; a user for erase.
        trace: called with the name of every step.
    """
    options: Any = {"actor": an_actor("chaos", f"{name} under chaos"), "trace": trace}
    if name == "promote":
        assert release_id is not None
        return releases.promote_release(services, release_id, **options)
    if name == "rollback":
        return releases.roll_back(services, release_id, **options)
    if name == "recover":
        return releases.recover_promotion(services, **options)
    if name == "retire":
        return releases.retire_old_releases(services, RetentionSettings(keep_releases=0), **options)
    if name == "erase":
        assert release_id is not None
        return releases.request_erasure(services, [int(release_id)], **options)
    if name == "finish":
        return releases.finish_erasures(services, **options)
    raise ValueError(name)
