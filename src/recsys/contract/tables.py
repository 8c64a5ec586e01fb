"""The public tables and the names in PostgreSQL that pipeline, trainer and site agree on."""

from __future__ import annotations

from typing import Final, Literal

from recsys.contract.keys import FrozenModel, check_release_id

LEDGER_SCHEMA: Final = "recsys"


class PublicTable(FrozenModel):
    """A table that the site reads; its columns and dimension never change without a migration."""

    name: str
    id_column: str
    metric: Literal["cosine", "inner_product"]
    artifact: str | None
    """Name of the release's artifact that the vectors come from; None: made by the pipeline."""
    indexed: bool = True
    """Whether an HNSW index serves nearest-neighbour queries; else rows are only read by id."""
    extra_columns: tuple[tuple[str, str], ...] = ()
    """Further columns after the id and ``vector``: (name, SQL type)."""


PUBLIC_TABLES: Final = (
    PublicTable(name="movie_vectors", id_column="movieid", metric="cosine", artifact=None),
    PublicTable(
        name="user_towers",
        id_column="userid",
        metric="inner_product",
        artifact="towers/user_towers.parquet",
        indexed=False,
        # What a user has rated, newest first: recommendations leave it out.
        extra_columns=(("seen", "integer[]"),),
    ),
    PublicTable(
        name="movie_towers",
        id_column="movieid",
        metric="inner_product",
        artifact="towers/movie_towers.parquet",
    ),
)
MOVIE_VECTOR_DIM: Final = 128
TOWER_DIM: Final = 64


def table_name(table: str, release_id: str) -> str:
    """Name in the schema ``recsys`` of a release's own table, e.g. ``movie_vectors_<id>``.

    The dash of the release id becomes an underscore, so the name needs no quotes in SQL.
    """
    if table not in {t.name for t in PUBLIC_TABLES}:
        raise ValueError(f"not a public table: {table[:40]!r}")
    return f"{table}_{check_release_id(release_id).replace('-', '_')}"


LIVE_SCHEMA: Final = "recsys_live"
SITE_ROLE: Final = "recsys_site"
CHANNEL: Final = "recsys_release"
"""NOTIFY channel: its payload is the id of the release that has just become champion."""
