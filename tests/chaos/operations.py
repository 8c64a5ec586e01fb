"""The four operations of the protocol, by name, as a child process is told them."""

from __future__ import annotations

from typing import Any

from recsys import releases
from recsys.releases import RetentionSettings
from recsys.releases.recovery import Trace
from recsys.services import Services


def run(services: Services, name: str, release_id: str | None, trace: Trace) -> Any:
    """Runs an operation.

    Args:
        services: where.
        name: promote, rollback, recover or retire.
        release_id: which release; None for recover and retire.
        trace: told of every step.
    """
    who = {"actor": "chaos", "reason": f"{name} under chaos", "trace": trace}
    if name == "promote":
        assert release_id is not None
        return releases.promote_release(services, release_id, **who)
    if name == "rollback":
        return releases.roll_back(services, release_id, **who)
    if name == "recover":
        return releases.recover_promotion(services, **who)
    if name == "retire":
        return releases.retire_old_releases(services, RetentionSettings(keep_releases=0), **who)
    raise ValueError(name)
