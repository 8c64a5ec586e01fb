"""The checks of ``recsys doctor``."""

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
    """Returns a message for every problem found, with what to do about it."""
    messages = []
    try:
        services.store.check()
    except RecsysError as error:
        messages.append(f"S3: {error}")
    try:
        with services.connect() as conn:
            messages += _ledger_problems(conn)
            if not messages and ledger.applied(conn):
                messages += _owner_problems(conn, services)
            if not messages:
                messages += _release_problems(conn, services)
    except RecsysError as error:
        messages.append(f"PostgreSQL: {error}")
    return messages


def _ledger_problems(conn: Connection) -> list[str]:
    try:
        if ledger.applied(conn):
            ledger.check_current(conn)
    except LedgerError as error:
        return [f"ledger: {error}"]
    return []


def _owner_problems(conn: Connection, services: Services) -> list[str]:
    try:
        owner = releases.owner_of(services.store)
        if owner is None:
            releases.check_unowned(conn, services.store)
        elif owner != ledger.ledger_id(conn):
            releases.check_owner(conn, services.store)
    except LedgerError as error:
        return [str(error)]
    return []


def _release_problems(conn: Connection, services: Services) -> list[str]:
    if not ledger.applied(conn):
        if not releases.public_content(services.store).objects:
            return []
        return [
            "the bucket has public objects, but this database contains no ledger: is this the "
            "right database, and is its backup restored?"
        ]
    messages = []
    champion = ledger.champion(conn)
    if ledger.open_journals(conn):
        messages.append(
            "open journal: a promotion or rollback is in progress or was interrupted; "
            "run `recsys recover`"
        )
    elif champion is None:
        messages += _unowned_copies(conn, services)
    elif not releases.public_copies_match(services.store, champion, read_model=True):
        messages.append("the public copies in S3 are not the champion's; run `recsys recover`")
    if not releases.search_path_is_set(conn):
        messages.append(
            "new sessions do not find the public tables by name: the database has lost its "
            "search_path, as after restoring a dump; run `recsys recover`"
        )
    if champion is not None:
        live = releases.live_tables(conn)
        for table in PUBLIC_TABLES:
            expected = table_name(table.name, champion.release_id)
            if live.get(table.name) != expected:
                messages.append(
                    f"the public name {table.name} is {live.get(table.name) or 'missing'} instead "
                    f"of the champion's {expected}; run `recsys recover`, which makes it again"
                )
        messages += releases.site_problems(conn, live)
    messages += _damaged_releases(conn, services)
    messages += _unknown_releases(conn, services)
    return messages


def _unowned_copies(conn: Connection, services: Services) -> list[str]:
    """Returns a message if public objects exist where no release is the champion."""
    content = releases.public_content(services.store)
    if not content.objects:
        return []
    if content.is_from(ledger.journal_targets(conn)):
        return ["there are public copies in S3 and no champion; run `recsys recover`"]
    return [
        f"the bucket has public objects that no promotion of this ledger wrote (of release "
        f"{content.model or 'unknown'}): is this the right bucket and the right database? They "
        "stay until the first promotion replaces them"
    ]


def _damaged_releases(conn: Connection, services: Services) -> list[str]:
    """Returns the retained releases that cannot be promoted or rolled back to."""
    messages = []
    for release in ledger.all_releases(conn):
        if release.state in ledger.SERVABLE:
            try:
                releases.check_release(conn, services.store, release)
            except PermanentError as error:
                messages.append(f"release {release.release_id} ({release.state}): {error}")
            users = releases.dependents(conn, release.release_id)
            if users:
                messages.append(
                    f"{', '.join(users)} read release {release.release_id} for ever, whichever is "
                    "live: views and functions cannot be built on the public names "
                    "(docs/site-developer.md)"
                )
    return messages


def _unknown_releases(conn: Connection, services: Services) -> list[str]:
    """Returns the releases that are in S3 and not in the ledger, as after restoring a backup."""
    known = {release.release_id for release in ledger.all_releases(conn)}
    stored = {
        key.split("/")[1]
        for key in services.store.keys(contract.RELEASES_PREFIX)
        if key.endswith("/" + contract.MANIFEST_FILE)
    }
    return [
        f"S3 contains release {release_id}, which is not in the ledger: was the ledger restored "
        "from an older backup? Run `recsys run --force` to register it again, or delete its objects"
        for release_id in sorted(stored - known)
    ]
