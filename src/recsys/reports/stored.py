"""A release's report as it was stored; reading it needs none of the libraries that render one."""

from __future__ import annotations

from recsys import contract
from recsys.services import Services


def stored_report(services: Services, release_id: str) -> str | None:
    """Returns the stored report of a release, or None if there is none."""
    key = contract.release_key(release_id, contract.REPORT_FILE)
    return services.store.get_bytes(key).decode() if services.store.head(key) else None
