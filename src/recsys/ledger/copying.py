"""Copies the whole ledger to and from files, for moving it to another database.

The files are PostgreSQL's text format of COPY, a table each. They fit ledgers of the same
migrations only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from psycopg import sql

from recsys.contract import LEDGER_SCHEMA
from recsys.database import Connection
from recsys.errors import LedgerError
from recsys.ledger.actions import Action
from recsys.ledger.actor import Actor
from recsys.ledger.identity import ledger_id
from recsys.ledger.records import note
from recsys.ledger.releases import release_ids

COPIED_TABLES: Final = (
    "identity",
    "releases",
    "history",
    "journal",
    "decisions",
    "forward_tests",
    "alerts",
    "erasure_key",
    "erased_users",
)
"""The ledger's tables, each after those that its foreign keys name.

The others follow from the code: ``migrations`` and ``release_moves``.
"""

_CHUNK: Final = 1 << 20


def copy_table_out(conn: Connection, table: str, path: Path) -> int:
    """Writes the rows of one of `COPIED_TABLES`, in the order of its primary key.

    In the caller's transaction, so that all tables are of the same moment.

    Returns:
        The number of rows.
    """
    # Columns of the index in their order there.
    key = [
        name
        for (name,) in conn.execute(
            "select a.attname from pg_index i "
            "cross join unnest(i.indkey) with ordinality k (n, at) "
            "join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.n "
            "where i.indrelid = %s::regclass and i.indisprimary order by k.at",
            (f"{LEDGER_SCHEMA}.{table}",),
        )
    ]
    statement = sql.SQL("copy (select {} from {} order by {}) to stdout").format(
        _columns(conn, table),
        sql.Identifier(LEDGER_SCHEMA, table),
        sql.SQL(", ").join(map(sql.Identifier, key)),
    )
    with path.open("wb") as file, conn.cursor() as cursor:
        with cursor.copy(statement) as copy:
            for block in copy:
                file.write(block)
        return cursor.rowcount


def is_imported(conn: Connection, identity: str) -> bool:
    """Whether the database contains the ledger with this id already.

    Raises:
        LedgerError: it contains the releases of another ledger.
    """
    own = ledger_id(conn)
    if own == identity:
        return True
    if known := release_ids(conn):
        raise LedgerError(
            "this database contains a ledger that is in use",
            found=f"ledger {own} with {len(known)} releases",
            expected="a database without releases",
            hint="import into a new database",
        )
    return False


def copy_tables_in(conn: Connection, files: Mapping[str, Path], *, actor: Actor) -> None:
    """Fills an unused ledger with copied tables, and notes it, in one transaction.

    What happened in the unused ledger, such as a change of the search path, follows in the history.

    Args:
        conn: a connection outside a transaction, of a role that owns the tables.
        files: of each of `COPIED_TABLES`.
        actor: who imports, and why.

    Raises:
        LedgerError: the ledger is in use.
    """
    with conn.transaction():
        conn.execute("lock table recsys.releases, recsys.identity in access exclusive mode")
        # Nobody can have used it since.
        is_imported(conn, "")
        conn.execute(
            "create temporary table earlier_history on commit drop as "
            "select * from recsys.history order by id"
        )
        # Triggers keep rows from being removed, and write history for each release.
        for table in COPIED_TABLES:
            _alter(conn, table, "disable")
        for table in reversed(COPIED_TABLES):
            conn.execute(sql.SQL("delete from {}").format(sql.Identifier(LEDGER_SCHEMA, table)))
        for table in COPIED_TABLES:
            _fill(conn, table, files[table])
        conn.execute(
            "insert into recsys.history (at, actor, origin, reason, action, release_id, run_id, "
            "from_state, to_state, detail) select at, actor, origin, reason, action, release_id, "
            "run_id, from_state, to_state, detail from earlier_history order by id"
        )
        for table in COPIED_TABLES:
            _alter(conn, table, "enable")
        note(conn, Action.LEDGER_IMPORTED, actor=actor)


def _columns(conn: Connection, table: str) -> sql.Composed:
    rows = conn.execute(
        "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 "
        "and not attisdropped order by attname",
        (f"{LEDGER_SCHEMA}.{table}",),
    ).fetchall()
    return sql.SQL(", ").join(sql.Identifier(name) for (name,) in rows)


def _alter(conn: Connection, table: str, verb: str) -> None:
    conn.execute(
        sql.SQL("alter table {} {} trigger user").format(
            sql.Identifier(LEDGER_SCHEMA, table), sql.SQL(verb)
        )
    )


def _fill(conn: Connection, table: str, path: Path) -> None:
    relation = sql.Identifier(LEDGER_SCHEMA, table)
    statement = sql.SQL("copy {} ({}) from stdin").format(relation, _columns(conn, table))
    with path.open("rb") as file, conn.cursor() as cursor, cursor.copy(statement) as copy:
        while block := file.read(_CHUNK):
            copy.write(block)
    name = f"{LEDGER_SCHEMA}.{table}"
    numbered = conn.execute(
        "select attname, pg_get_serial_sequence(%s, attname) from pg_attribute "
        "where attrelid = %s::regclass and attidentity <> ''",
        (name, name),
    ).fetchall()
    for column, sequence in numbered:
        conn.execute(
            sql.SQL("select setval(%s, coalesce(max({}), 0) + 1, false) from {}").format(
                sql.Identifier(column), relation
            ),
            (sequence,),
        )
