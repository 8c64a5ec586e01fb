"""Import: makes an exported recommender in an unused database and bucket."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys import contract, ledger, releases, vectors
from recsys.contract import NARROW, WIDE, public_table
from recsys.database import Connection
from recsys.dataset import Progress
from recsys.errors import ArtifactError, LedgerError
from recsys.ledger import Actor
from recsys.moving.index import ExportedObject, ExportedTable, ExportIndex, read_index
from recsys.object_store import file_sha256
from recsys.services import Services


def import_recommender(
    services: Services, folder: Path, *, actor: Actor, progress: Progress
) -> ExportIndex:
    """Makes an exported recommender in an unused database and bucket, and serves its champion.

    Every file is compared with its checksum before anything is written. Objects and tables come
    first; the ledger, which makes them known, appears in one transaction; then the champion gets
    its public names and copies. An interrupted import goes on when it is repeated, and repeating a
    complete one changes nothing.

    Args:
        services: PostgreSQL and S3, where the recommender goes.
        folder: what `export_recommender` wrote.
        actor: who imports, and why.
        progress: called with the bytes of objects done and their total.

    Returns:
        The index of the export.

    Raises:
        ArtifactError: the folder is not complete, or a file differs from its checksum.
        LedgerError: the database or the bucket is in use, or the ledger is of other code.
        LockedError: another process is promoting or importing.
        VectorError: a table has another digest than in the ledger.
    """
    index = read_index(folder)
    _check_files(index, folder)
    with services.connect() as conn:
        ledger.prepare(conn)
        _check_migrations(index, ledger.applied(conn))
    with releases.promotion_lock(services) as lock:
        if not ledger.is_imported(lock, index.ledger_id):
            releases.claim_bucket(services.store, index.ledger_id)
            _put_objects(services, lock, index, folder, progress)
            with services.connect() as conn:
                vectors.enable_vector_extension(conn)
                for table in index.tables:
                    releases.check_lock(lock)
                    _load(conn, table, folder)
                files = {name: file.path(folder) for name, file in index.ledger.items()}
                ledger.copy_tables_in(conn, files, actor=actor)
    releases.recover_promotion(services, actor=actor)
    return index


def _check_files(index: ExportIndex, folder: Path) -> None:
    if missing := sorted(set(ledger.COPIED_TABLES) - set(index.ledger)):
        raise ArtifactError("the export lacks tables of the ledger", found=", ".join(missing))
    for file in index.files.values():
        path = file.path(folder)
        try:
            found = file_sha256(path)
        except OSError as error:
            raise ArtifactError(
                "the export is not complete", found=f"no readable {path}", hint="copy it again"
            ) from error
        if found != file.sha256:
            raise ArtifactError(
                f"{path} has changed since it was exported",
                found=f"sha256 {found}",
                expected=f"sha256 {file.sha256}",
                hint="copy the folder again",
            )


def _check_migrations(index: ExportIndex, present: list[int]) -> None:
    if index.migrations != present:
        raise LedgerError(
            "the export's ledger is of other code",
            found=f"migrations up to {max(index.migrations, default=0)}",
            expected=f"up to {max(present)}",
            hint="export and import with one version of recsys; `recsys recover` upgrades a ledger",
        )


def _put_objects(
    services: Services, lock: Connection, index: ExportIndex, folder: Path, progress: Progress
) -> None:
    done, total = 0, sum(one.size for one in index.objects)
    # A release's manifest says that its other objects are there.
    for one in sorted(index.objects, key=_is_last):
        releases.check_lock(lock)
        progress(done, total)
        stored = services.store.find_content(one.key)
        if stored is None or (stored.sha256, stored.metadata) != (one.sha256, one.metadata):
            services.store.put_file(one.key, one.path(folder), one.metadata)
        done += one.size
    progress(done, total)


def _is_last(one: ExportedObject) -> bool:
    return one.key.startswith(contract.RELEASES_PREFIX) and one.key.endswith(
        f"/{contract.MANIFEST_FILE}"
    )


def _load(conn: Connection, exported: ExportedTable, folder: Path) -> None:
    ids, matrix, extra = vectors.read_vectors(exported.path(folder))
    table = public_table(exported.table).with_ids(WIDE if ids.dtype == np.int64 else NARROW)
    vectors.load_vectors(conn, table, exported.release_id, ids, matrix, extra)
