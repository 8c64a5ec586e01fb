"""What is live and why, read from the ledger alone: it works with Airflow stopped."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from recsys import (
    contract,
    ledger,
    ledger_records,
    migrations,
    public_copies,
    switch,
    verification,
)
from recsys.contract import PUBLIC_TABLES, table_name
from recsys.data_report import data_report
from recsys.errors import (
    LedgerError,
    PermanentError,
    RecsysError,
    ServiceUnavailableError,
    StaleError,
)
from recsys.ledger import Connection, Release
from recsys.services import Services

log = logging.getLogger(__name__)


def release_facts(release: Release) -> dict[str, Any]:
    """A release as a plain document."""
    metrics = (release.manifest or {}).get("metrics", {}).get("model", {})
    return {
        "release_id": release.release_id,
        "state": release.state.value,
        "dataset_md5": release.dataset_md5,
        "trainer_digest": release.build["trainer_digest"],
        "fingerprint": release.fingerprint,
        "created_at": release.created_at,
        "completed_at": release.completed_at,
        "promoted_at": release.promoted_at,
        "metrics": metrics,
        "tables": release.tables,
    }


def status(services: Services) -> dict[str, Any]:
    """Champion, previous champion, open journal, and whether the public copies are in order."""
    with services.connect() as conn:
        if not migrations.applied(conn):
            return {
                "champion": None,
                "previous_champion": None,
                "open_journal": None,
                "public_copies_in_order": public_copies.in_order(services.store, None),
            }
        migrations.check_current(conn)
        champion, previous = ledger.champion(conn), ledger.previous_champion(conn)
        journal = conn.execute(
            "select kind, from_release, to_release, actor, reason, opened_at "
            "from recsys.journal where closed_at is null"
        ).fetchone()
        names = ("kind", "from_release", "to_release", "actor", "reason", "opened_at")
        return {
            "champion": release_facts(champion) if champion else None,
            "previous_champion": release_facts(previous) if previous else None,
            "open_journal": dict(zip(names, journal, strict=True)) if journal else None,
            "public_copies_in_order": public_copies.in_order(services.store, champion),
        }


def why(services: Services, release_id: str | None = None) -> dict[str, Any]:
    """Why a release (by default the champion) is where it is: data, decision and history.

    Raises:
        LedgerError: there is no such release.
    """
    with services.connect() as conn:
        migrations.check_current(conn)
        release = ledger.get(conn, release_id) if release_id else ledger.champion(conn)
        if release is None:
            raise LedgerError("nothing was promoted yet", hint="run `recsys run`")
        decided = ledger_records.last_decision(conn, release.release_id)
        return {
            "release": release_facts(release),
            "decision": decided[0].model_dump(mode="json") if decided else None,
            "diff": decided[1] if decided else None,
            "data": _data(conn, services, release),
            "history": ledger_records.history(conn, release.release_id),
        }


def _data(conn: Connection, services: Services, release: Release) -> dict[str, Any] | None:
    """What is known of the release's dataset; nothing while S3 does not answer."""
    try:
        return data_report(conn, services.store, release)
    except ServiceUnavailableError as error:
        log.warning("the dataset's statistics cannot be read now: %s", error)
        return None


def check_freshness(services: Services, max_age: timedelta) -> None:
    """Raises when the last run that ended well is older than ``max_age``.

    A run ends well when it judges a candidate, either way, or finds nothing new.

    Raises:
        StaleError: it is too old. Before the first run nothing is.
    """
    with services.connect() as conn:
        migrations.check_current(conn)
        last = ledger_records.last_success(conn)
    if last is not None and datetime.now(UTC) - last > max_age:
        raise StaleError(
            "no run has succeeded for too long",
            found=f"the last one at {last:%Y-%m-%d %H:%M} UTC",
            expected=f"one in the last {max_age.days} days",
            hint="look at the failed runs of movie_rec_sys; `recsys doctor` checks the servers",
        )


def problems(services: Services) -> list[str]:
    """Everything that is out of order and what to do about it; empty when all is well."""
    found = []
    try:
        services.store.check()
    except RecsysError as error:
        found.append(f"S3: {error}")
    try:
        with services.connect() as conn:
            found += _ledger_problems(conn)
            if not found:
                found += _release_problems(conn, services)
    except RecsysError as error:
        found.append(f"PostgreSQL: {error}")
    return found


def _ledger_problems(conn: Connection) -> list[str]:
    try:
        if migrations.applied(conn):
            migrations.check_current(conn)
    except LedgerError as error:
        return [f"ledger: {error}"]
    return []


def _release_problems(conn: Connection, services: Services) -> list[str]:
    if not migrations.applied(conn):
        return []
    found = []
    champion = ledger.champion(conn)
    if conn.execute("select 1 from recsys.journal where closed_at is null").fetchone():
        found.append(
            "an open journal: a promotion is at work, or was interrupted; `recsys recover`"
        )
    elif not public_copies.in_order(services.store, champion):
        found.append("the public copies in S3 are not the champion's; `recsys recover`")
    if not switch.names_are_found(conn):
        found.append(
            "new sessions do not find the public tables by name: the database's search_path was "
            "lost, as in a restored dump; `recsys recover`"
        )
    if champion is not None:
        live = switch.live_tables(conn)
        for table in PUBLIC_TABLES:
            expected = table_name(table.name, champion.release_id)
            if live.get(table.name) != expected:
                found.append(
                    f"{table.name} shows {live.get(table.name)} instead of the champion's "
                    f"{expected}: was the ledger restored from an older backup? restore the "
                    "whole database from one backup, then run `recsys recover`"
                )
    found += _damaged_releases(conn, services)
    found += _unknown_releases(conn, services)
    return found


def _damaged_releases(conn: Connection, services: Services) -> list[str]:
    """Retained releases that could not be promoted or rolled back to as they are."""
    found = []
    for release in ledger.releases(conn):
        if release.state in ledger.SERVABLE:
            try:
                verification.check_release(conn, services.store, release)
            except PermanentError as error:
                found.append(f"release {release.release_id} ({release.state}): {error}")
    return found


def _unknown_releases(conn: Connection, services: Services) -> list[str]:
    """Releases that S3 has and the ledger has not: what an older backup of the ledger forgot."""
    known = {release.release_id for release in ledger.releases(conn)}
    stored = {
        key.split("/")[1]
        for key in services.store.keys("releases/")
        if key.endswith("/" + contract.MANIFEST_FILE)
    }
    return [
        f"S3 holds release {release_id}, which the ledger does not know: was the ledger restored "
        "from an older backup? `recsys run --force` takes it up again, or delete its objects"
        for release_id in sorted(stored - known)
    ]
