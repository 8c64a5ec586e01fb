"""What is live and why. Reads the ledger and S3 only, so it works while Airflow is stopped."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from recsys import ledger, releases
from recsys.database import Connection
from recsys.errors import (
    ServiceUnavailableError,
    StaleError,
)
from recsys.ledger import Release
from recsys.services import Services

log = logging.getLogger(__name__)


def release_facts(release: Release) -> dict[str, Any]:
    """Returns a release as a JSON document."""
    return {
        "release_id": release.release_id,
        "state": release.state.value,
        "dataset_md5": release.dataset_md5,
        "trainer_digest": release.trainer_digest,
        "fingerprint": release.fingerprint,
        "created_at": release.created_at,
        "completed_at": release.completed_at,
        "promoted_at": release.promoted_at,
        # The metrics of ratings are in this scale.
        "scale": release.scale.model_dump(),
        "metrics": release.scores.values(),
        "metrics_are_measured": release.is_measured,
        "tables": release.tables,
    }


def read_status(services: Services, *, with_data: bool = False) -> dict[str, Any]:
    """Returns champion, previous champion, open journal, and whether the public copies match.

    Args:
        services: both servers.
        with_data: also return the statistics of the champion's dataset, as ``data``.
    """
    none: dict[str, Any] = {"data": None} if with_data else {}
    with services.connect() as conn:
        if not ledger.applied(conn):
            return {
                "champion": None,
                "previous_champion": None,
                "open_journal": None,
                "public_copies_in_order": releases.public_copies_in_order(services.store, None),
            } | none
        ledger.check_current(conn)
        champion, previous = ledger.champion(conn), ledger.previous_champion(conn)
        journals = ledger.open_journals(conn)
        data = {"data": _data(conn, services, champion)} if with_data and champion else none
        return {
            "champion": release_facts(champion) if champion else None,
            "previous_champion": release_facts(previous) if previous else None,
            "open_journal": journals[0].document() if journals else None,
            "public_copies_in_order": releases.public_copies_in_order(services.store, champion),
        } | data


def why(services: Services, release_id: str | None = None) -> dict[str, Any]:
    """Explains the state of a release, by default the champion: dataset, decision and history.

    Raises:
        LedgerError: the release does not exist.
    """
    # It imports the gate, which `recsys status` does not need; so does `_data` with the features.
    from recsys.monitoring.forward import forward_facts

    with services.connect() as conn:
        ledger.check_current(conn)
        release = ledger.get_or_champion(conn, release_id)
        decision, diff = ledger.last_decision(conn, release.release_id) or (None, None)
        return {
            "release": release_facts(release),
            "decision": decision.model_dump(mode="json") if decision else None,
            "diff": diff,
            "forward": forward_facts(conn, release),
            "data": _data(conn, services, release),
            "history": ledger.history(conn, release.release_id),
        }


def _data(conn: Connection, services: Services, release: Release) -> dict[str, Any] | None:
    """Returns the statistics of the release's dataset; None while S3 does not respond."""
    from recsys.monitoring.dataset_statistics import dataset_statistics

    try:
        return dataset_statistics(conn, services.store, release)
    except ServiceUnavailableError as error:
        log.warning("the dataset's statistics cannot be read now: %s", error)
        return None


def check_freshness(services: Services, max_age: timedelta) -> None:
    """Raises an error if the last success is older than ``max_age``.

    A run succeeds if it judges a candidate, whether accepted or rejected, or finds nothing new.

    Raises:
        StaleError: the last success is too old. Before the first success, there is no error.
    """
    with services.connect() as conn:
        ledger.check_current(conn)
        last = ledger.last_success(conn)
    if last is not None and datetime.now(UTC) - last > max_age:
        raise StaleError(
            "no run has succeeded for too long",
            found=f"the last one at {last:%Y-%m-%d %H:%M} UTC",
            expected=f"one in the last {max_age.days} days",
            hint="look at the failed runs of the weekly DAG; `recsys doctor` checks the servers",
        )
