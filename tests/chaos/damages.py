"""Everything of a world that can be lost or changed, enumerated from the world itself."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql

from recsys import contract
from recsys.contract import (
    LIVE_SCHEMA,
    OWNER_KEY,
    PUBLIC_MODEL_KEY,
    PUBLIC_POINTER_KEY,
    PUBLIC_TABLES,
    SITE_ROLE,
    STAGING_PREFIX,
    staging_key,
    table_name,
)
from recsys.releases import public_names
from recsys.services import Services

Stored = dict[str, tuple[bytes, dict[str, str]]]
"""Content and metadata of every object of a bucket."""


@dataclass(frozen=True)
class Damage:
    """One thing that is removed or changed.

    Attributes:
        kind: what happened to what; damages of one kind differ in the object only.
        name: the object.
        named: part of the message by which `recsys doctor` names it.
        statements: SQL that does the harm.
        key: object in the bucket that is harmed.
        content: its new content and metadata; None if it is removed.
        releases: releases that cannot be served until a backup is restored.
        changed: releases with a change that only doctor finds, because reading all of a table
            takes too long for a promotion.
        ledger: a table of the ledger is lost, so that a change may be refused.
        foreign: ledger and bucket do not belong together, so that every change is refused.
        anonymous: a public object no longer says which release it is of.
        leaves: something remains that is in the way of the same damage.
        history: rows of history or journal contradict each other until a backup is restored.
    """

    kind: str
    name: str
    named: str
    statements: tuple[str, ...] = ()
    key: str = ""
    content: tuple[bytes, dict[str, str]] | None = None
    releases: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()
    ledger: bool = False
    foreign: bool = False
    anonymous: bool = False
    leaves: bool = False
    history: bool = False

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"

    def harm(self, services: Services) -> None:
        """Does it, by an account that may do everything."""
        if self.key and self.content is None:
            services.store.delete([self.key])
        elif self.content is not None:
            services.store.put_bytes(self.key, *self.content)
        if self.statements:
            with services.connect() as conn:
                for statement in self.statements:
                    conn.execute(sql.SQL(statement))


def damages(services: Services, stored: Stored, champion: str, earlier: str) -> list[Damage]:
    """Returns all damages of a world with a champion and an earlier one."""
    return [
        *_objects(stored),
        *_tables(services, champion, earlier),
        *_views(champion, earlier),
        *_rights(champion, earlier),
        *_search_path(services),
        *_rows(champion, earlier),
    ]


def _objects(stored: Stored) -> Iterator[Damage]:
    owners = sorted({key.split("/")[1] for key in stored if "/" in key})
    left = staging_key(f"left/{contract.MODEL_FILE}")
    yield Damage("staged object left", left, STAGING_PREFIX, key=left, content=(b"left", {}))
    for turn, (key, (data, labels)) in enumerate(stored.items()):
        changed = (bytes(len(data)), labels)
        if key in (PUBLIC_MODEL_KEY, PUBLIC_POINTER_KEY):
            named = "public copies"
            yield Damage("public object removed", key, named, key=key)
            yield Damage(
                "public object changed",
                key,
                named,
                key=key,
                content=changed,
                anonymous=key == PUBLIC_POINTER_KEY,
            )
            if labels:
                yield Damage("labels lost", key, named, key=key, content=(data, {}), anonymous=True)
        elif key == OWNER_KEY:
            yield Damage("owner removed", key, f"{OWNER_KEY} is missing", key=key)
            yield Damage(
                "owner unreadable", key, "names no ledger", key=key, content=changed, foreign=True
            )
            other = json.dumps({"ledger_id": str(uuid.UUID(int=0))}).encode()
            yield Damage(
                "owner changed", key, "another ledger", key=key, content=(other, {}), foreign=True
            )
        else:
            release = key.split("/")[1]
            part = "manifest" if key.endswith(contract.MANIFEST_FILE) else "artifact"
            lost = frozenset({release})
            vital = part == "manifest" or key.endswith(contract.MODEL_FILE)
            # What is only archived is removed from one release and changed in the other.
            if vital or (turn + owners.index(release)) % 2:
                yield Damage(f"{part} removed", key, release, key=key, releases=lost)
            if vital or not (turn + owners.index(release)) % 2:
                yield Damage(
                    f"{part} changed", key, release, key=key, content=changed, releases=lost
                )


def _tables(services: Services, champion: str, earlier: str) -> Iterator[Damage]:
    for release in (champion, earlier):
        lost = frozenset({release})
        for table in PUBLIC_TABLES:
            name = table_name(table.name, release)
            full = f"recsys.{name}"
            yield Damage(
                "table dropped", name, release, (f"drop table {full} cascade",), releases=lost
            )
            yield Damage(
                "vector deleted",
                name,
                release,
                (f"delete from {full} where {table.id_column} = 2",),
                releases=lost,
            )
            yield Damage(
                "vector changed",
                name,
                release,
                (f"update {full} set vector = (vector + vector) where {table.id_column} = 2",),
                changed=frozenset({release}),
            )
            yield Damage("table emptied", name, release, (f"truncate {full}",), releases=lost)
            if table.indexed:
                # The primary key is found by its column, the index of vectors by its method.
                drop = (
                    "do $$ declare i regclass; begin select indexrelid into i from pg_index "
                    "join pg_class c on c.oid = indexrelid join pg_am a on a.oid = c.relam "
                    f"where indrelid = '{full}'::regclass and amname = 'hnsw'; "
                    "execute format('drop index %s', i); end $$"
                )
                yield Damage("index dropped", name, release, (drop,), releases=lost)
    with services.connect() as conn:
        ledger_tables = conn.execute(
            "select tablename from pg_tables where schemaname = 'recsys' and tablename !~ %s",
            ("_[0-9a-f]{8}_[0-9a-f]{8}$",),
        ).fetchall()
    for (name,) in ledger_tables:
        yield Damage(
            "ledger's table dropped",
            name,
            f"recsys.{name}",
            (f"drop table recsys.{name} cascade",),
            ledger=True,
        )
    yield Damage(
        "schema of the ledger dropped",
        "recsys",
        "contains no ledger",
        ("drop schema recsys cascade",),
        foreign=True,
    )


def _views(champion: str, earlier: str) -> Iterator[Damage]:
    waiting = public_names.views_schema(earlier)
    for schema, release, other, where in (
        (LIVE_SCHEMA, champion, earlier, "public view"),
        (waiting, earlier, champion, "view of an earlier release"),
    ):
        live = schema == LIVE_SCHEMA
        for table in PUBLIC_TABLES:
            view = f"{schema}.{table.name}"
            named = f"public name {table.name}" if live else f"views of release {earlier}"
            columns = ", ".join(table.columns)
            own = f"recsys.{table_name(table.name, release)}"
            yield Damage(f"{where} dropped", view, named, (f"drop view {view}",))
            yield Damage(
                f"{where} of another release",
                view,
                named,
                (
                    f"create or replace view {view} as select {columns} "
                    f"from recsys.{table_name(table.name, other)}",
                ),
            )
            yield Damage(
                f"{where} with fewer rows",
                view,
                named,
                (f"create or replace view {view} as select {columns} from {own} where false",),
            )
            yield Damage(
                f"{where} with other columns",
                view,
                named,
                (
                    f"drop view {view}",
                    f"create view {view} as select vector, {table.id_column} from {own}",
                ),
            )
        named = "public name" if live else f"views of release {earlier}"
        yield Damage(
            f"schema of {where}s dropped", schema, named, (f"drop schema {schema} cascade",)
        )
        yield Damage(
            f"schema of {where}s renamed",
            schema,
            named,
            # Two names, so that both can happen in one world.
            (f"alter schema {schema} rename to {'other' if live else 'another'}",),
            leaves=True,
        )
    row = "recsys.current_release"
    yield Damage("current_release dropped", row, row, (f"drop view {row}",))
    yield Damage(
        "current_release changed",
        row,
        row,
        (f"drop view {row}", f"create view {row} as select 1 as release_id"),
    )


def _rights(champion: str, earlier: str) -> Iterator[Damage]:
    for schema in ("recsys", LIVE_SCHEMA):
        yield Damage(
            "right on a schema revoked",
            schema,
            f"{SITE_ROLE} may not read",
            (f"revoke all on schema {schema} from {SITE_ROLE}",),
        )
    names = [
        "recsys.current_release",
        *(f"{LIVE_SCHEMA}.{table.name}" for table in PUBLIC_TABLES),
        *(f"recsys.{table_name(t.name, r)}" for r in (champion, earlier) for t in PUBLIC_TABLES),
    ]
    for name in names:
        yield Damage("right revoked", name, name, (f"revoke all on {name} from {SITE_ROLE}",))


def _search_path(services: Services) -> Iterator[Damage]:
    alter = "do $$ begin execute format('alter database %I {}', current_database()); end $$"
    for kind, change in (("reset", "reset search_path"), ("changed", "set search_path = public")):
        yield Damage(f"search path {kind}", "database", "search_path", (alter.format(change),))


def _rows(champion: str, earlier: str) -> Iterator[Damage]:
    for release in (champion, earlier):
        for column, value in (
            ("tables", "'{}'"),
            ("manifest", "'{}'"),
            ("manifest_sha256", "repeat('0', 64)"),
        ):
            yield Damage(
                "release row changed",
                f"{column} of {release}",
                release,
                (f"update recsys.releases set {column} = {value} where release_id = '{release}'",),
                releases=frozenset({release}),
            )
    yield Damage(
        "time of promotion changed",
        champion,
        "public copies",
        ("update recsys.releases set promoted_at = now() where state = 'champion'",),
    )
    for kind, change in (
        ("journal deleted", f"delete from recsys.journal where to_release = '{champion}'"),
        (
            "journal changed",
            f"update recsys.journal set outcome = 'undone' where to_release = '{champion}'",
        ),
        (
            "event deleted",
            "delete from recsys.history where id = (select max(id) from recsys.history "
            # Events that are no moves, such as a repair, leave no trace elsewhere.
            f"where release_id = '{champion}' and action = 'moved')",
        ),
        (
            "event changed",
            "update recsys.history set to_state = 'rejected' "
            f"where release_id = '{earlier}' and to_state = 'superseded'",
        ),
    ):
        release = earlier if kind == "event changed" else champion
        yield Damage(
            kind,
            f"of {release}",
            release,
            ("set session_replication_role = replica", change),
            history=True,
        )
    yield Damage(
        "interrupted promotion",
        earlier,
        "open journal",
        (
            "insert into recsys.journal (kind, from_release, to_release, actor, reason) "
            f"values ('rollback', '{champion}', '{earlier}', 'chaos', 'killed')",
        ),
    )
    yield Damage(
        "moves deleted", "release_moves", "release_moves", ("delete from recsys.release_moves",)
    )
    for kind, change in (
        ("identity deleted", "delete from recsys.identity"),
        ("identity changed", "update recsys.identity set ledger_id = gen_random_uuid()"),
    ):
        yield Damage(kind, "identity", "ledger", (change,), foreign=True)
