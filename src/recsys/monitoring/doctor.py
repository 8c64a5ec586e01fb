"""The checks of ``recsys doctor``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from recsys import contract, ledger, releases
from recsys.contract import OWNER_KEY
from recsys.database import Connection
from recsys.errors import (
    ArtifactError,
    LedgerError,
    RecsysError,
)
from recsys.ledger import Release
from recsys.monitoring.retained import Listed, damaged_releases, list_releases
from recsys.monitoring.site_checks import not_comparable, site_problems
from recsys.services import Services

_SHOWN: Final = 5
_ERASED_WITHIN: Final = timedelta(days=8)
"""A weekly run finishes what is pending."""
_LAUNCHER: Final = "RECSYS_TRAINER_LAUNCHER"
_KEYS: Final = "RECSYS_VERIFICATION_KEYS"
_VERIFIER_IMAGE: Final = "RECSYS_VERIFIER_IMAGE"
_IMAGE_LAUNCHERS: Final = ("docker", "kubernetes")


def warnings(environ: Mapping[str, str]) -> list[str]:
    """Returns settings that work, but leave out a protection, with what to do about each.

    Args:
        environ: the environment of the pipeline, as the DAGs read it.
    """
    return [*_signature_warnings(environ), *_verifier_warnings(environ)]


def _signature_warnings(environ: Mapping[str, str]) -> list[str]:
    if environ.get(_KEYS):
        return []
    return [
        f"releases are unsigned, or nothing verifies their signatures: {_KEYS} is not set, so a "
        "release that was changed in S3 and in the ledger would be served "
        "(docs/proving-a-release.md)"
    ]


def _verifier_warnings(environ: Mapping[str, str]) -> list[str]:
    launcher = environ.get(_LAUNCHER, "").strip()
    if launcher not in _IMAGE_LAUNCHERS or environ.get(_VERIFIER_IMAGE):
        return []
    return [
        f"{_VERIFIER_IMAGE} is not set, and {_LAUNCHER} is {launcher}: the trainer's own image "
        "measures its candidates, so it can write the numbers that the gate judges. Build "
        "docker/verifier/Dockerfile and set the variable to the image by digest "
        "(docs/trainer-image.md)"
    ]


def problems(services: Services, *, thorough: bool = False) -> list[str]:
    """Returns a message for every problem found, with what to do about it.

    Args:
        services: PostgreSQL and S3.
        thorough: read every retained release completely, not only those that a rollback leads to.
    """
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
                messages += _release_problems(conn, services, thorough)
    except RecsysError as error:
        messages.append(f"PostgreSQL: {error}")
    return messages


def _ledger_problems(conn: Connection) -> list[str]:
    try:
        if ledger.applied(conn):
            ledger.check_current(conn)
    except LedgerError as error:
        return [f"ledger: {error}"]
    missing = ledger.missing_tables(conn)
    if missing:
        return [f"ledger: {', '.join(missing)} is missing; restore it from a backup"]
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


def _erasure_problems(conn: Connection) -> list[str]:
    """Names requests to erase users that have waited for longer than a run should take."""
    pending = [erasure for erasure in ledger.erasures(conn) if erasure.is_pending]
    if not pending or datetime.now(UTC) - pending[0].requested_at < _ERASED_WITHIN:
        return []
    return [
        f"{len(pending)} users are being erased since {pending[0].requested_at:%Y-%m-%d}: readers "
        "do not see them, but something still knows them; run `recsys erase`, which says what"
    ]


def _release_problems(conn: Connection, services: Services, thorough: bool) -> list[str]:
    if not ledger.applied(conn):
        if not releases.public_content(services.store).objects:
            return []
        return [
            "the bucket has public objects, but this database contains no ledger: is this the "
            "right database, and is its backup restored?"
        ]
    messages = _erasure_problems(conn)
    champion = ledger.champion(conn)
    if ledger.open_journals(conn):
        messages.append(
            "open journal: a promotion or rollback is in progress or was interrupted; "
            "run `recsys recover`"
        )
    elif champion is None:
        messages += _unowned_copies(conn, services)
    else:
        messages += _copy_problems(services, champion)
    if champion is not None and services.store.head(OWNER_KEY) is None:
        messages.append(f"{OWNER_KEY} is missing; run `recsys recover`, which writes it again")
    if not releases.search_path_is_set(conn):
        messages.append(
            "new sessions do not find the public tables by name: the database has lost its "
            "search_path, as after restoring a dump; run `recsys recover`, or, if another role "
            f"owns the database: {releases.search_path_statement(conn)}"
        )
    if champion is not None:
        messages += site_problems(conn, champion)
    messages += [
        f"{text}; somebody changed rows of the ledger: compare them with a backup"
        for text in ledger.inconsistencies(conn)
    ]
    listed = list_releases(services)
    messages += damaged_releases(conn, services, listed, thorough=thorough)
    messages += _unknown_releases(conn, listed)
    messages += _orphans(conn, services)
    messages += _leftovers(conn, services)
    return messages


def _copy_problems(services: Services, champion: Release) -> list[str]:
    try:
        if releases.public_copies_match(services.store, champion, read_model=True):
            return []
    except ArtifactError:
        # The damage itself is named among the damaged releases.
        return [not_comparable("the public copies in S3", champion)]
    return ["the public copies in S3 are not the champion's; run `recsys recover`"]


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


def _orphans(conn: Connection, services: Services) -> list[str]:
    found = releases.find_orphans(conn, services.store)
    if not found:
        return []
    shown = ", ".join(map(str, found[:_SHOWN]))
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return [
        f"nothing needs {shown}{more}, unchanged for {releases.GRACE.days} days; "
        "run `recsys clean`, which shows and deletes them"
    ]


def _unknown_releases(conn: Connection, listed: Listed) -> list[str]:
    """Returns the releases that are in S3 and not in the ledger, as after restoring a backup."""
    known = ledger.release_ids(conn)
    stored = {key.split("/")[1] for key in listed if key.endswith("/" + contract.MANIFEST_FILE)}
    return [
        f"S3 contains release {release_id}, which is not in the ledger: was the ledger restored "
        "from an older backup? Run `recsys run --force` to register it again, or delete it with "
        "`recsys clean --unknown-releases`"
        for release_id in sorted(stored - known)
    ]


def _leftovers(conn: Connection, services: Services) -> list[str]:
    """Returns what interrupted processes left in S3 that no running one will use."""
    messages = [
        f"{contract.INBOX_PREFIX} contains {len(keys)} files of a trainer of release {release_id}, "
        "which is not being built; run `recsys retire`, which deletes them"
        for release_id, keys in releases.inbox_leftovers(conn, services.store).items()
    ]
    if services.store.keys(contract.STAGING_PREFIX):
        messages.append(
            f"{contract.STAGING_PREFIX} contains copies of a promotion that is in progress or was "
            "interrupted; run `recsys recover`, which deletes them"
        )
    return messages
