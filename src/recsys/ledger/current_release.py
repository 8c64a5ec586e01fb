"""The view ``recsys.current_release``, one row that tells readers which release is live."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from recsys import contract
from recsys.contract import MODEL_FILE, PUBLIC_TABLES
from recsys.database import Connection
from recsys.errors import VectorError
from recsys.ledger import migrations
from recsys.ledger.releases import Release

_STATEMENTS: Final = re.compile(
    r"^(?:create (?:or replace )?view|comment on view) recsys\.current_release\b.*?;$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class LiveRelease:
    """The release that readers see.

    Attributes:
        release_id: its id.
        promoted_at: when it became the champion.
    """

    release_id: str
    promoted_at: datetime


def live_release(conn: Connection) -> LiveRelease | None:
    """Returns the live release as a reader sees it; None before the first promotion.

    An account that may read the view only, such as a site's, is enough.
    """
    try:
        row = conn.execute(
            "select release_id, promoted_at from recsys.current_release limit 1"
        ).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return None
    return None if row is None else LiveRelease(*row)


def current_release_is_right(conn: Connection, champion: Release) -> bool:
    """Whether the view exists and its only row is of the champion.

    Call it outside a transaction, because a missing view would end that one.

    Raises:
        ArtifactError: the view is of the champion, but the manifest in the ledger is damaged, which
            the other columns come from.
    """
    try:
        with conn.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute("select * from recsys.current_release limit 2").fetchall()
    except psycopg.errors.UndefinedTable:
        return False
    except psycopg.DataError:
        # The right view fails if the manifest has other types than it expects.
        _columns_of_the_manifest(champion)
        return False
    own = _own_columns(champion)
    if [{name: row.get(name) for name in own} for row in rows] != [own]:
        return False
    return rows == [{**own, **_columns_of_the_manifest(champion)}]


def restore_current_release(conn: Connection) -> None:
    """Makes the view again, as the migrations define it; the caller grants the rights again.

    Raises:
        VectorError: something of another application uses the view, or is in its place.
    """
    texts = [text for each in migrations.available() for text in _STATEMENTS.findall(each.text)]
    try:
        with conn.transaction():
            conn.execute("drop view if exists recsys.current_release")
            for text in texts:
                conn.execute(sql.SQL(text))
    except (psycopg.errors.DependentObjectsStillExist, psycopg.errors.WrongObjectType) as error:
        raise VectorError(
            "recsys.current_release was changed and cannot be made again",
            found=str(error).strip().splitlines()[0],
            hint="drop what uses it or is in its place, then run `recsys recover`",
        ) from error


def _own_columns(champion: Release) -> dict[str, Any]:
    """Returns the columns that do not come from the manifest."""
    tables = {
        f"{table.name}_table": f"{contract.LEDGER_SCHEMA}."
        + contract.table_name(table.name, champion.release_id)
        for table in PUBLIC_TABLES
    }
    return {"release_id": champion.release_id, "promoted_at": champion.promoted_at, **tables}


def _columns_of_the_manifest(champion: Release) -> dict[str, Any]:
    manifest = champion.complete_manifest
    model = manifest.artifact(MODEL_FILE)
    return {
        "dataset_md5": champion.dataset_md5,
        "model_key": model.key,
        "model_sha256": model.sha256,
        "movie_vector_dim": manifest.dims.movie_vectors,
        "tower_dim": manifest.dims.towers,
    }
