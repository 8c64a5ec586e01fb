"""Orphans: tables and objects of this project that no release, build or journal knows.

A task that was killed, or cleared after its release was abandoned, can leave them. Only names that
the contract gives count, in a bucket that belongs to this ledger, and only what has not changed for
a grace period.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from recsys import contract, ledger, vectors
from recsys.contract import KeyGroup
from recsys.database import Connection
from recsys.errors import LedgerError, LockedError, VectorError
from recsys.ledger import Action, Actor, State
from recsys.object_store import ListedObject, ObjectStore
from recsys.releases import public_names
from recsys.releases.lock import check_lock, deletion_lock
from recsys.releases.ownership import owner_of, public_content
from recsys.services import Services

log = logging.getLogger(__name__)

GRACE: Final = timedelta(days=7)
"""Longer than any task may take."""
_FIRST: Final = (contract.MANIFEST_FILE, contract.STATS_FILE)
"""Without them the others do not exist, so they are deleted first."""


@dataclass(frozen=True)
class Orphan:
    """Objects below one prefix, or the tables and views of one release.

    Attributes:
        name: the prefix, or the names of tables and of the schema of views.
        release_id: the release of the tables; None for objects.
        objects: number of objects; 0 for tables.
        size: bytes of the objects.
        since: when the newest one was written or its release was retired; None if not known.
    """

    name: str
    release_id: str | None
    objects: int
    size: int
    since: datetime | None

    def __str__(self) -> str:
        what = f" ({self.objects} objects, {self.size:,} bytes)" if self.objects else ""
        return f"{self.name}{what}"


@dataclass(frozen=True)
class Cleaning:
    """Result of `delete_orphans`.

    Attributes:
        deleted: what was deleted.
        skipped: why an orphan was left, by its name.
    """

    deleted: tuple[Orphan, ...]
    skipped: dict[str, str]


class _Known:
    """What the ledger knows at one moment."""

    def __init__(self, conn: Connection) -> None:
        releases = ledger.all_releases(conn)
        retained = [release for release in releases if release.state != State.RETIRED]
        named = {
            release_id
            for journal in ledger.open_journals(conn)
            for release_id in (journal.from_release, journal.to_release)
            if release_id
        }
        self.retired = {r.release_id: r.changed_at for r in releases if r.state == State.RETIRED}
        self.retained = {release.release_id for release in retained} | named
        self._datasets = {release.dataset_md5 for release in retained}
        self._features = {release.features_prefix for release in retained}

    def has(self, release_id: str) -> bool:
        return release_id in self.retained or release_id in self.retired

    def orphaned(self, key: str) -> KeyGroup | None:
        """Returns the group of an object that nothing needs; None if it is needed or of others.

        Below the id of a release that the ledger knows, everything is of this project.
        """
        group = contract.key_group(key)
        if group is None or self._uses(group):
            return None
        is_ours = group.has_known_name or (group.release_id and self.has(group.release_id))
        return group if is_ours else None

    def _uses(self, group: KeyGroup) -> bool:
        if group.release_id:
            return group.release_id in self.retained
        if group.is_features:
            return group.prefix in self._features
        return group.dataset_md5 in self._datasets


def find_orphans(
    conn: Connection,
    store: ObjectStore,
    *,
    grace: timedelta = GRACE,
    complete: bool = False,
) -> list[Orphan]:
    """Returns all orphans, objects first.

    Args:
        conn: the ledger.
        store: the bucket; nothing of one that belongs to another ledger is an orphan.
        grace: how long they must not have changed.
        complete: also complete releases that the ledger does not know. They may be newer than a
            ledger that was restored from a backup.
    """
    if owner_of(store) != ledger.ledger_id(conn):
        return []
    known = _Known(conn)
    objects = [listed for prefix in contract.GROUP_PREFIXES for listed in store.objects(prefix)]
    whole = {
        listed.key.split("/")[1]
        for listed in objects
        if listed.key.startswith(contract.RELEASES_PREFIX)
        and listed.key.endswith("/" + contract.MANIFEST_FILE)
    }
    spared = {release_id for release_id in whole if not known.has(release_id)}
    if complete:
        spared = set()
    return [
        *_orphaned_objects(known, objects, datetime.now(UTC) - grace, spared),
        *_orphaned_tables(conn, known, datetime.now(UTC) - grace, spared),
    ]


def _orphaned_objects(
    known: _Known, objects: Iterable[ListedObject], before: datetime, spared: set[str]
) -> list[Orphan]:
    groups: dict[str, list[ListedObject]] = defaultdict(list)
    for listed in objects:
        group = known.orphaned(listed.key)
        if group and group.release_id not in spared:
            groups[group.prefix].append(listed)
    found = []
    for name, members in groups.items():
        since = max(member.modified for member in members)
        if since < before:
            size = sum(member.size for member in members)
            found.append(Orphan(name, None, len(members), size, since))
    return found


def _orphaned_tables(
    conn: Connection, known: _Known, before: datetime, spared: set[str]
) -> list[Orphan]:
    """Returns orphaned tables and schemas of views, by release.

    A release that the ledger does not know must be named by the comment that loading its tables
    writes. Such tables have no age: the ledger in the same database knows a build before them.
    """
    names: dict[str, list[str]] = defaultdict(list)
    proven: set[str] = set()
    for name, comment in _relations(conn):
        release_id = name[-17:].replace("_", "-")
        names[release_id].append(name)
        if _names_release(comment, release_id):
            proven.add(release_id)
    found = []
    for release_id, relations in names.items():
        since = known.retired.get(release_id)
        if release_id in known.retained or release_id in spared:
            continue
        if since is None and release_id not in proven:
            continue
        if since is None or since < before:
            found.append(Orphan(", ".join(sorted(relations)), release_id, 0, 0, since))
    return found


def _relations(conn: Connection) -> list[tuple[str, str | None]]:
    """Returns tables of releases with their comments, and schemas of views."""
    tables = "|".join(table.name for table in contract.PUBLIC_TABLES)
    return conn.execute(
        "select n.nspname || '.' || c.relname, obj_description(c.oid, 'pg_class') "
        "from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = %s and c.relkind = 'r' and c.relname ~ %s union all "
        "select nspname, null from pg_namespace where nspname ~ %s order by 1",
        (
            contract.LEDGER_SCHEMA,
            f"^({tables})_[0-9a-f]{{8}}_[0-9a-f]{{8}}$",
            "^recsys_views_[0-9a-f]{8}_[0-9a-f]{8}$",
        ),
    ).fetchall()


def _names_release(comment: str | None, release_id: str) -> bool:
    try:
        facts = json.loads(comment or "")
    except ValueError:
        return False
    return isinstance(facts, dict) and facts.get("release_id") == release_id


def delete_orphans(
    services: Services,
    *,
    actor: Actor,
    grace: timedelta = GRACE,
    complete: bool = False,
) -> Cleaning:
    """Deletes all orphans; see `find_orphans`. Promotions and builds go on meanwhile.

    Each is looked at again under the lock under which a build of its dataset would begin. One that
    is in use is skipped. A second call finds what a killed one has left.

    Raises:
        LedgerError: the bucket belongs to another ledger, or what is public is of a release that
            the ledger does not know, as after restoring an old backup.
        LockedError: a retirement is deleting.
    """
    deleted: list[Orphan] = []
    skipped: dict[str, str] = {}
    with deletion_lock(services) as conn:
        ledger.check_current(conn)
        _check_ledger(conn, services.store)
        for orphan in find_orphans(conn, services.store, grace=grace, complete=complete):
            try:
                if _delete(conn, services.store, orphan, grace):
                    deleted.append(orphan)
            except (LockedError, VectorError) as error:
                skipped[orphan.name] = str(error)
                log.warning("%s is not deleted: %s", orphan.name, error)
        if deleted:
            ledger.note(
                conn,
                Action.ORPHANS_DELETED,
                actor=actor,
                deleted=[orphan.name for orphan in deleted],
            )
    return Cleaning(tuple(deleted), skipped)


def _check_ledger(conn: Connection, store: ObjectStore) -> None:
    known = ledger.release_ids(conn)
    behind = [
        table
        for table in public_names.live_tables(conn).values()
        if table[-17:].replace("_", "-") not in known
    ]
    if owner_of(store) != ledger.ledger_id(conn):
        found = f"the bucket {store.location} belongs to another ledger, or to none"
    elif not public_content(store).is_from(known):
        found = "public objects of a release that the ledger does not know"
    elif behind:
        found = f"public names of {', '.join(behind)}, which the ledger does not know"
    else:
        return
    raise LedgerError(
        "this ledger does not know what is public, so it cannot tell what is an orphan",
        found=found,
        expected="the newest ledger of this bucket and this database",
        hint="`recsys doctor` says more; restore the newest backup, or run `recsys recover`",
    )


def _delete(conn: Connection, store: ObjectStore, orphan: Orphan, grace: timedelta) -> bool:
    """Deletes an orphan unless it is none any more; returns whether it did."""
    digits = orphan.release_id or orphan.name.split("/")[1]
    before = datetime.now(UTC) - grace
    with ledger.no_build_begins(conn, digits):
        known = _Known(conn)
        if orphan.release_id is not None:
            if orphan.release_id in known.retained:
                return False
            public_names.drop_views(conn, orphan.release_id)
            vectors.drop_vectors(conn, orphan.release_id)
            return True
        members = [
            listed
            for listed in store.objects(orphan.name)
            if (group := known.orphaned(listed.key)) and group.prefix == orphan.name
        ]
        if not members or max(member.modified for member in members) >= before:
            return False
        for member in sorted(members, key=lambda m: not m.key.endswith(_FIRST)):
            check_lock(conn)
            store.delete([member.key])
    return True
