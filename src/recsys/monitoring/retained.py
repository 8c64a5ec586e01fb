"""The checks of ``recsys doctor`` on the retained releases that could be promoted or gone back to.

Those that would be served next are read completely: the champion, and the releases that a rollback
leads to. The others are checked with a number of statements and requests that does not grow with
their number: are all files there with their size, all tables with their rows and indexes. A
promotion or rollback reads its release completely before the switch.
"""

from __future__ import annotations

from collections.abc import Iterator

from recsys import contract, ledger, releases, vectors
from recsys.contract import PUBLIC_TABLES, RELEASES_PREFIX, table_name
from recsys.database import Connection
from recsys.errors import ArtifactError, PermanentError
from recsys.gate import MEASURED_RULE
from recsys.ledger import Release
from recsys.object_store import ListedObject
from recsys.services import Services

Listed = dict[str, ListedObject]


def damaged_releases(
    conn: Connection, services: Services, listed: Listed, *, thorough: bool
) -> Iterator[str]:
    """Yields the retained releases that cannot be promoted or rolled back to, and why.

    Args:
        conn: the ledger.
        services: the bucket.
        listed: all objects of releases, by key.
        thorough: read every release completely.
    """
    servable = [r for r in ledger.retained_releases(conn) if r.state in ledger.SERVABLE]
    read = {
        release.release_id
        for find in (ledger.champion, ledger.rollback_target, ledger.previous_champion)
        if (release := find(conn)) is not None
    }
    quick = [r for r in servable if r.release_id not in read and not thorough]
    stored = vectors.stored_tables(conn, [r.release_id for r in quick])
    users = releases.dependents(conn, [release.release_id for release in servable])
    for release in servable:
        if release in quick:
            faults = [
                *_missing_files(release, listed, signed=bool(services.trusted_keys)),
                *_missing_tables(release, stored),
            ]
        else:
            faults = list(_faults(conn, services, release))
        for fault in faults:
            yield f"release {release.release_id} ({release.state}): {fault}"
        if release.release_id in users:
            yield (
                f"{', '.join(users[release.release_id])} read release {release.release_id} for "
                "ever, whichever is live: views and functions cannot be built on the public names "
                "(docs/site-developer.md)"
            )


def _faults(conn: Connection, services: Services, release: Release) -> Iterator[str]:
    try:
        releases.check_release(conn, services, release)
    except PermanentError as error:
        yield str(error)
        return
    for table in PUBLIC_TABLES:
        facts = release.tables[table.name]
        if not vectors.content_is_as_loaded(
            conn, table, release.release_id, digest=facts["digest"], rows=facts["rows"]
        ):
            name = table_name(table.name, release.release_id)
            yield (
                f"recsys.{name} has other content than was loaded; roll back to another release, "
                "or restore the table from a backup"
            )
    yield from _measurement_faults(conn, services, release)


def _measurement_faults(conn: Connection, services: Services, release: Release) -> Iterator[str]:
    """Yields what is wrong with the measured metrics, which releases of earlier editions lack."""
    name = contract.release_key(release.release_id, contract.MEASURED_FILE)
    try:
        found = releases.find_measurement(
            services.store, release.release_id, release.manifest_sha256
        )
    except ArtifactError as error:
        yield f"{name} was changed: {error}; restore it from a backup"
        return
    decided = ledger.last_decision(conn, release.release_id)
    was_measured = decided is not None and any(
        rule.name == MEASURED_RULE for rule in decided[0].rules
    )
    if found is None and was_measured:
        yield (
            f"{name} is missing; restore it from a backup. It serves as before; the report and "
            "later candidates see the metrics that its trainer stated"
        )


def _missing_files(release: Release, listed: Listed, *, signed: bool) -> Iterator[str]:
    try:
        manifest = release.complete_manifest
    except ArtifactError as error:
        yield str(error)
        return
    if contract.release_key(release.release_id, contract.MANIFEST_FILE) not in listed:
        yield f"{contract.MANIFEST_FILE} is missing in S3; restore it, or use another release"
    if signed and contract.release_key(release.release_id, contract.SIGNATURE_FILE) not in listed:
        yield "it is not signed; `recsys sign` checks and signs it"
    for artifact in manifest.artifacts:
        found = listed.get(artifact.key)
        if found is None or found.size != artifact.size:
            what = "is missing" if found is None else f"has {found.size} bytes"
            yield (
                f"{artifact.key} {what}, expected {artifact.size} bytes; restore it, or use "
                "another release"
            )


def _missing_tables(release: Release, stored: dict[str, vectors.StoredTable]) -> Iterator[str]:
    for table in PUBLIC_TABLES:
        name = table_name(table.name, release.release_id)
        facts = release.tables.get(table.name) or {}
        found = stored.get(name)
        if found is None:
            yield f"there is no table recsys.{name}; restore it, or use another release"
        elif found.rows != facts.get("rows"):
            yield f"recsys.{name} has {found.rows} rows instead of {facts.get('rows')}"
        elif table.indexed and not found.has_index:
            yield f"recsys.{name} has no valid index"


def list_releases(services: Services) -> Listed:
    """Returns all objects of releases, by key."""
    return {listed.key: listed for listed in services.store.objects(RELEASES_PREFIX)}
