"""The checks of ``recsys doctor``: what is out of order and what to do about it."""

from __future__ import annotations

from recsys import contract, ledger, releases
from recsys.contract import PUBLIC_TABLES, table_name
from recsys.database import Connection
from recsys.errors import (
    LedgerError,
    PermanentError,
    RecsysError,
)
from recsys.services import Services


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
        if ledger.applied(conn):
            ledger.check_current(conn)
    except LedgerError as error:
        return [f"ledger: {error}"]
    return []


def _release_problems(conn: Connection, services: Services) -> list[str]:
    if not ledger.applied(conn):
        return []
    found = []
    champion = ledger.champion(conn)
    if conn.execute("select 1 from recsys.journal where closed_at is null").fetchone():
        found.append(
            "an open journal: a promotion is at work, or was interrupted; `recsys recover`"
        )
    elif not releases.public_copies_match(services.store, champion):
        found.append("the public copies in S3 are not the champion's; `recsys recover`")
    if not releases.search_path_is_set(conn):
        found.append(
            "new sessions do not find the public tables by name: the database's search_path was "
            "lost, as in a restored dump; `recsys recover`"
        )
    if champion is not None:
        live = releases.live_tables(conn)
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
    for release in ledger.all_releases(conn):
        if release.state in ledger.SERVABLE:
            try:
                releases.check_release(conn, services.store, release)
            except PermanentError as error:
                found.append(f"release {release.release_id} ({release.state}): {error}")
    return found


def _unknown_releases(conn: Connection, services: Services) -> list[str]:
    """Releases that S3 has and the ledger has not: what an older backup of the ledger forgot."""
    known = {release.release_id for release in ledger.all_releases(conn)}
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
