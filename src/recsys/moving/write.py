"""Export: writes ledger, vectors and objects of a recommender to a folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from psycopg.errors import UndefinedTable

from recsys import contract, ledger, releases, vectors
from recsys.contract import PUBLIC_TABLES
from recsys.database import Connection
from recsys.dataset import Progress
from recsys.errors import ArtifactError, ConfigurationError, LedgerError, LockedError
from recsys.moving.index import (
    COPIED_PREFIXES,
    FILES_FOLDER,
    INDEX_FILE,
    ExportedFile,
    ExportedObject,
    ExportedTable,
    ExportIndex,
)
from recsys.object_store import ListedObject, file_sha256
from recsys.scratch import check_space
from recsys.services import Services

_PARTIAL: Final = "partial"


def export_recommender(services: Services, folder: Path, progress: Progress) -> ExportIndex:
    """Writes a recommender to a folder, from which `import_recommender` makes it elsewhere.

    Ledger and tables are of one moment; promotions, rollbacks and retirements wait until the export
    has ended. Nothing is changed. The folder has everything that the servers know of users: only
    its owner may read it.

    Args:
        services: PostgreSQL and S3.
        folder: a new or empty folder; that of an interrupted export is written anew.
        progress: called with the bytes of objects done and their total.

    Returns:
        The index, which is written last.

    Raises:
        ConfigurationError: the folder contains something else.
        LedgerError: there is no ledger, or its schema is not the one of this code.
        LockedError: a promotion is running, or was interrupted.
        VectorError: a table has changed since it was loaded.
        DiskFullError: the objects do not fit on the disk.
    """
    _prepare_folder(folder)
    with releases.promotion_lock(services) as lock:
        _check_ledger(lock)
        releases.check_owner(lock, services.store)
        objects = [one for prefix in COPIED_PREFIXES for one in services.store.objects(prefix)]
        check_space(folder, sum(one.size for one in objects))
        with services.connect() as conn:
            tables = _export_tables(conn, folder)
            copied = _export_ledger(conn, folder)
            champion = ledger.champion(conn)
            index = ExportIndex(
                exported_at=datetime.now(UTC),
                ledger_id=ledger.ledger_id(conn),
                migrations=ledger.applied(conn),
                champion=None if champion is None else champion.release_id,
                releases=len(ledger.release_ids(conn)),
                ledger=copied,
                tables=tables,
                objects=list(_export_objects(services, lock, folder, objects, progress)),
            )
    _write_index(folder, index)
    return index


def _prepare_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = sorted(path.name for path in folder.iterdir())
    if names and names != [FILES_FOLDER]:
        raise ConfigurationError(
            f"{folder} is not empty",
            found="an export" if INDEX_FILE in names else ", ".join(names[:5]),
            expected="a new folder",
        )
    folder.chmod(0o700)
    shutil.rmtree(folder / FILES_FOLDER, ignore_errors=True)
    (folder / FILES_FOLDER).mkdir(mode=0o700)


def _check_ledger(conn: Connection) -> None:
    try:
        ledger.check_current(conn)
    except UndefinedTable as error:
        raise LedgerError("this database contains no ledger") from error
    if ledger.open_journals(conn):
        raise LockedError(
            "a promotion or rollback was interrupted",
            found="an open journal",
            hint="run `recsys recover` first, which undoes it",
        )


def _export_ledger(conn: Connection, folder: Path) -> dict[str, ExportedFile]:
    copied = {}
    with conn.transaction():
        conn.execute("set transaction isolation level repeatable read, read only")
        for table in ledger.COPIED_TABLES:
            copied[table] = _add_file(folder, partial(ledger.copy_table_out, conn, table))
    return copied


def _export_tables(conn: Connection, folder: Path) -> list[ExportedTable]:
    exported = []
    stored = vectors.stored_tables(conn, ledger.release_ids(conn))
    for release in ledger.all_releases(conn):
        for table in PUBLIC_TABLES:
            facts = release.tables.get(table.name)
            if facts is None or contract.table_name(table.name, release.release_id) not in stored:
                continue
            digest, rows = facts["digest"], facts["rows"]
            known = {"digest": digest, "rows": rows}
            write = partial(vectors.write_table, conn, table, release.release_id, **known)
            named = {"release_id": release.release_id, "table": table.name}
            file = _add_file(folder, write)
            exported.append(ExportedTable(**file.model_dump(), **named, **known))
    return exported


def _export_objects(
    services: Services,
    lock: Connection,
    folder: Path,
    objects: list[ListedObject],
    progress: Progress,
) -> Iterator[ExportedObject]:
    done, total = 0, sum(one.size for one in objects)
    for one in objects:
        # Also keeps the session, which PostgreSQL ends when it idles for long.
        releases.check_lock(lock)
        progress(done, total)
        head = services.store.head(one.key)
        try:
            file = _add_file(folder, partial(services.store.download, one.key))
        except ArtifactError:
            if services.store.head(one.key) is not None:
                raise
            # A run has removed files of its own, which have no lock.
            continue
        metadata = {} if head is None else head.metadata
        yield ExportedObject(**file.model_dump(), key=one.key, metadata=metadata)
        done += one.size
    progress(done, done)


def _add_file(folder: Path, write: Callable[[Path], object]) -> ExportedFile:
    """Adds a file, which gets the name of its sha256 when it is complete."""
    path = folder / FILES_FOLDER / _PARTIAL
    write(path)
    path.chmod(0o600)
    file = ExportedFile(sha256=file_sha256(path), size=path.stat().st_size)
    path.replace(file.path(folder))
    return file


def _write_index(folder: Path, index: ExportIndex) -> None:
    path = folder / FILES_FOLDER / _PARTIAL
    with path.open("w") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(index.model_dump_json(indent=2))
        file.flush()
        os.fsync(file.fileno())
    path.replace(folder / INDEX_FILE)
