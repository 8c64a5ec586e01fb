"""Public tables and other names in PostgreSQL that pipeline, trainer and site share."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from recsys.contract.ids import NARROW, WIDE, IdBits
from recsys.contract.keys import (
    MOVIE_TOWERS_FILE,
    USER_TOWERS_FILE,
    FrozenModel,
    check_release_id,
)

LEDGER_SCHEMA: Final = "recsys"
MOVIE_VECTOR_DIM: Final = 128
TOWER_DIM: Final = 64
WIDE_TYPE: Final = "bigint"
"""Type of an id column where the dataset's ids have 64 bits."""


class PublicTable(FrozenModel):
    """A table that the site reads; its columns and dimension never change without a migration.

    The type of its ids is that of the release's dataset: `with_ids`.
    """

    name: str
    id_column: Literal["movieid", "userid"]
    dimension: int = Field(gt=0)
    metric: Literal["cosine", "inner_product"]
    artifact: str | None
    """Artifact of the release with these vectors; None if the pipeline computes them."""
    indexed: bool = True
    """Whether the table has an HNSW index for nearest-neighbor queries; else it is read by id."""
    extra_columns: tuple[tuple[str, str], ...] = ()
    """Columns after the id and ``vector``: (name, SQL type)."""
    id_type: Literal["integer", "bigint"] = "integer"
    """SQL type of the id column."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns, in their order in the table."""
        return (self.id_column, "vector", *(name for name, _ in self.extra_columns))

    @property
    def id_bits(self) -> IdBits:
        """Width of the ids."""
        return WIDE if self.id_type == WIDE_TYPE else NARROW

    def with_ids(self, bits: IdBits) -> PublicTable:
        """Returns the table of a release whose dataset has ids of this width.

        All ids of a release have one width: those in its lists, too.
        """
        if bits != WIDE:
            return self
        lists = tuple((name, f"{WIDE_TYPE}[]") for name, _ in self.extra_columns)
        return self.model_copy(update={"id_type": WIDE_TYPE, "extra_columns": lists})


PUBLIC_TABLES: Final = (
    PublicTable(
        name="movie_vectors",
        id_column="movieid",
        dimension=MOVIE_VECTOR_DIM,
        metric="cosine",
        artifact=None,
    ),
    PublicTable(
        name="user_towers",
        id_column="userid",
        dimension=TOWER_DIM,
        metric="inner_product",
        artifact=USER_TOWERS_FILE,
        indexed=False,
        # The movies that the user has rated, newest first; recommendations leave them out.
        extra_columns=(("seen", "integer[]"),),
    ),
    PublicTable(
        name="movie_towers",
        id_column="movieid",
        dimension=TOWER_DIM,
        metric="inner_product",
        artifact=MOVIE_TOWERS_FILE,
    ),
)


def public_table(name: str) -> PublicTable:
    """The public table called ``name``; raises ValueError if there is none."""
    for table in PUBLIC_TABLES:
        if table.name == name:
            return table
    expected = ", ".join(table.name for table in PUBLIC_TABLES)
    raise ValueError(f"not a public table: found {name[:40]!r}, expected one of {expected}")


def table_name(table: str, release_id: str) -> str:
    """Name in the schema ``recsys`` of a release's own table, e.g. ``movie_vectors_<id>``.

    The dash of the release id becomes an underscore, so the name needs no quotes in SQL.
    """
    return f"{public_table(table).name}_{check_release_id(release_id).replace('-', '_')}"


LIVE_SCHEMA: Final = "recsys_live"
SITE_ROLE: Final = "recsys_site"
CHANNEL: Final = "recsys_release"
"""NOTIFY channel; the payload is the id of the release that has become champion."""
