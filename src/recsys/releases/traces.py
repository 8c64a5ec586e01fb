"""Searches for traces of erased users in everything that can be reached: objects and tables."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, LiteralString

from psycopg import sql

from recsys import contract
from recsys.contract import LEDGER_SCHEMA, LIVE_SCHEMA
from recsys.database import Connection
from recsys.errors import ArtifactError
from recsys.features import ErasedUsers
from recsys.object_store import ObjectStore
from recsys.releases.user_ids import UndecodableError, ids_in_document, ids_in_text, user_ids
from recsys.scratch import scratch_folder

log = logging.getLogger(__name__)

_REQUESTS: Final = "erased_users"
"""The table of the requests: it has the ids of those that are pending."""
_COLUMNS: Final[LiteralString] = """
select n.nspname, c.relname, a.attname, format_type(a.atttypid, null)
from pg_attribute a join pg_class c on c.oid = a.attrelid
join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm') and a.attnum > 0 and not a.attisdropped
  and (n.nspname in (%s, %s) or n.nspname ~ '^recsys_views_[0-9a-f]{8}_[0-9a-f]{8}$')
order by 1, 2, a.attnum
"""
_OWN: Final = (
    *contract.GROUP_PREFIXES,
    contract.STAGING_PREFIX,
    contract.SEALS_PREFIX,
    contract.ERASURES_PREFIX,
    contract.PUBLIC_MODEL_KEY,
    contract.PUBLIC_POINTER_KEY,
    contract.OWNER_KEY,
)
_INTEGERS: Final = frozenset({"smallint", "integer", "bigint"})
_LISTS: Final = frozenset(f"{kind}[]" for kind in _INTEGERS)
_DOCUMENTS: Final = frozenset({"json", "jsonb"})
_TEXTS: Final = frozenset({"text", "character varying", "name"})


@dataclass(frozen=True)
class Searched:
    """One object or table that was searched.

    Attributes:
        name: the key, or the table with its schema.
        kind: ``object`` or ``table``.
        size: bytes of an object, number of columns of a table.
        sha256: of an object's content; None for a table.
        ids: number of users that it names.
        found: the erased users among them.
        problem: why it could not be decoded; None if it was.
    """

    name: str
    kind: str
    size: int
    sha256: str | None
    ids: int
    found: frozenset[int]
    problem: str | None = None


def search_objects(
    store: ObjectStore, keys: Iterable[str], erased: ErasedUsers
) -> Iterator[Searched]:
    """Decodes objects and yields which erased users each of them names.

    An object that was deleted meanwhile is left out.
    """
    with scratch_folder("traces") as folder:
        for key in keys:
            path = folder / "object"
            try:
                store.download(key, path)
            except ArtifactError:
                continue
            ids: set[int] = set()
            found: set[int] = set()
            problem = None
            try:
                for named in user_ids(key, path):
                    ids |= named
                    found |= erased.find(named)
                if found and key.endswith("/" + contract.GOLDEN_FILE):
                    found &= _known_to_model(store, key, folder)
            except (UndecodableError, ArtifactError) as error:
                problem = str(error)
                log.warning("%s cannot be decoded: %s", key, error)
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = path.stat().st_size
            path.unlink()
            yield Searched(key, "object", size, sha256, len(ids), frozenset(found), problem)


def _known_to_model(store: ObjectStore, key: str, folder: Path) -> set[int]:
    """Returns the users of the model that golden predictions were made with.

    They also ask for a user whom the model does not know. The trainer takes the number after the
    largest id, which is the erased user's if nobody came later: that is no trace.
    """
    path = folder / "model"
    model = key.removesuffix(contract.GOLDEN_FILE) + contract.MODEL_FILE
    store.download(model, path)
    try:
        return set().union(*user_ids(model, path))
    finally:
        path.unlink()


def search_tables(
    conn: Connection, erased: ErasedUsers, only: frozenset[str] | None = None
) -> Iterator[Searched]:
    """Reads all tables and views of this project and yields which erased users each names.

    Args:
        conn: an account that owns the tables: others do not see users who are being erased.
        erased: the users.
        only: names with their schema; all if not given.
    """
    rows = conn.execute(_COLUMNS, (LEDGER_SCHEMA, LIVE_SCHEMA)).fetchall()
    for (schema, table), columns in groupby(rows, key=itemgetter(0, 1)):
        name = f"{schema}.{table}"
        if table == _REQUESTS or (only is not None and name not in only):
            continue
        ids: set[int] = set()
        found: set[int] = set()
        listed = list(columns)
        for _, _, column, kind in listed:
            for named in _column_ids(conn, sql.Identifier(schema, table), column, kind):
                ids |= named
                found |= erased.find(named)
        yield Searched(name, "table", len(listed), None, len(ids), frozenset(found))


def _column_ids(
    conn: Connection, relation: sql.Identifier, column: str, kind: str
) -> Iterator[set[int]]:
    quoted = sql.Identifier(column)
    of_users = column.replace("_", "") in ("userid", "userids")
    if kind in _INTEGERS and of_users:
        yield {row[0] for row in _distinct(conn, relation, quoted)}
    elif kind in _LISTS and of_users:
        for (array,) in _distinct(conn, relation, quoted):
            yield set(array)
    elif kind in _DOCUMENTS:
        for (document,) in _distinct(conn, relation, quoted):
            yield ids_in_document(document)
    elif kind in _TEXTS:
        for (text,) in _distinct(conn, relation, quoted):
            yield ids_in_text(str(text))


def _distinct(
    conn: Connection, relation: sql.Identifier, column: sql.Identifier
) -> list[tuple[Any, ...]]:
    query = sql.SQL("select distinct {column} from {relation} where {column} is not null")
    return conn.execute(query.format(column=column, relation=relation)).fetchall()


def own_group(key: str) -> str | None:
    """Returns the prefix, or the name, by which a key is this project's; None if it is another's.

    Other applications may use the bucket.
    """
    return next(
        (own for own in _OWN if key == own or (own[-1] == "/" and key.startswith(own))), None
    )


def own_keys(store: ObjectStore) -> list[str]:
    """Returns the keys of all objects of this project; other applications may use the bucket."""
    return [key for prefix in _OWN for key in store.keys(prefix)]


def release_keys(store: ObjectStore, release_id: str, features_prefix: str) -> list[str]:
    """Returns the keys of what a release has: its files, its inbox, its features."""
    own = [
        *store.keys(contract.release_prefix(release_id)),
        *store.keys(contract.release_inbox_prefix(release_id)),
    ]
    features = store.keys(features_prefix)
    return [*own, *(key for key in features if contract.prefix_of_features(key) == features_prefix)]
