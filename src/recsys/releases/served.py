"""Measures what the site would get from a release's tables, for the gate.

The judged metrics are those of files. So the tables in PostgreSQL are read as the site reads them,
by the same queries on the same columns and index, and compared with the dataset, with the
trainer's golden recommendations, and with what the evaluated towers recommend.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import psycopg
from numpy.typing import NDArray
from psycopg import sql
from pydantic import ValidationError

from recsys import contract, vectors
from recsys.contract import GoldenRecommendations, Manifest, PublicTable
from recsys.database import Connection, long_statement
from recsys.errors import UnknownIdError, VectorError, first_invalid_field
from recsys.gate import ServedFacts, TableFacts
from recsys.ledger import Release
from recsys.object_store import ObjectStore
from recsys.releases.recommended import DatasetSize, evaluated_lists, mean_share
from recsys.scratch import scratch_folder

log = logging.getLogger(__name__)

_SAMPLE: Final = 200
"""Users whose recommendations and rated movies are compared, beside those of the trainer."""
_MAX_GOLDEN: Final = 1 << 20
"""Bytes; `contract.GOLDEN_USERS` lists take less than a tenth."""

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class _Dataset:
    """The features of the release's dataset; all ids are sorted.

    Attributes:
        interactions: the file of all interactions.
        rows: number of interactions.
        users: users with an interaction.
        counts: number of interactions of each of them.
        movies: all movies.
        rated: movies with an interaction.
    """

    interactions: Path
    rows: int
    users: Ids
    counts: Ids
    movies: Ids
    rated: Ids


def measure_served(
    conn: Connection, store: ObjectStore, release: Release, features_prefix: str
) -> ServedFacts:
    """Measures the tables of a complete release; the same tables give the same result.

    Args:
        conn: a connection outside a transaction.
        store: where features and artifacts are.
        release: the release.
        features_prefix: prefix of the features of its dataset.

    Raises:
        ArtifactError: the features or an artifact are missing or were changed.
        VectorError: a table is missing.
    """
    with scratch_folder("served") as work:
        dataset = _read_dataset(store, features_prefix, work)
        try:
            return _measure(conn, store, release, dataset, work)
        except psycopg.errors.UndefinedTable as error:
            raise VectorError(
                f"a table of release {release.release_id} is missing",
                found=str(error).partition("\n")[0],
                hint="load its vectors again",
            ) from error


def _measure(
    conn: Connection, store: ObjectStore, release: Release, dataset: _Dataset, work: Path
) -> ServedFacts:
    manifest = release.complete_manifest
    known = {
        "user_towers": (dataset.users, dataset.users, manifest.serving.users),
        "movie_towers": (dataset.movies, dataset.movies, manifest.serving.movies),
        "movie_vectors": (dataset.rated, dataset.movies, None),
    }
    tables = {
        name: _table_facts(conn, release, name, needed, allowed, stated)
        for name, (needed, allowed, stated) in known.items()
    }
    golden = _read_golden(store, manifest, work)
    sample = _sample(dataset.users, release.manifest_sha256 or "")
    facts: dict[str, Any] = {
        **tables,
        "interactions": dataset.rows,
        "fitted_to": manifest.serving.interactions,
        "seen_counts": _wrong_counts(conn, release, dataset),
        "golden_users": None if golden is None else len(golden),
        "expected_golden_users": _users_with_unrated(dataset),
    }
    if any(
        tables[name].missing or tables[name].unknown for name in ("user_towers", "movie_towers")
    ):
        # Without the dataset's users and movies there is nothing to compare, and a table of an
        # unexpected size is not searched.
        return ServedFacts.model_validate(facts)
    users = np.union1d(sample, np.array(sorted(golden or {}), np.int64))
    rated = (
        pl.scan_parquet(dataset.interactions)
        .filter(pl.col("userId").is_in(users.tolist()))
        .select("userId", "movieId", "timestamp")
        .collect()
    )
    served = {int(user): _recommended(conn, release, int(user)) for user in users}
    facts |= {
        "asked": len(sample),
        "seen": _wrong_seen(conn, release, sample, rated),
        "golden": mean_share(golden, served) if golden else None,
    }
    size = DatasetSize(dataset.movies, len(dataset.users), dataset.rows)
    best = evaluated_lists(store, manifest, sample, rated, size, work)
    if best is not None:
        facts["evaluated_users"] = len(best)
    if best:
        others = dict(zip(best, [*list(best.values())[1:], next(iter(best.values()))], strict=True))
        facts |= {"evaluated": mean_share(best, served), "of_others": mean_share(others, served)}
    return ServedFacts.model_validate(facts)


def _read_dataset(store: ObjectStore, prefix: str, work: Path) -> _Dataset:
    paths = {}
    for name in (contract.INTERACTIONS_FILE, contract.MOVIES_FILE):
        paths[name] = work / name
        store.download(contract.features_key(prefix, name), paths[name])
    interactions = pl.scan_parquet(paths[contract.INTERACTIONS_FILE])
    by_user = interactions.group_by("userId").len().sort("userId").collect(engine="streaming")
    rated = interactions.select(pl.col("movieId").unique().sort()).collect(engine="streaming")
    movies = pl.read_parquet(paths[contract.MOVIES_FILE], columns=["movieId"]).sort("movieId")
    return _Dataset(
        interactions=paths[contract.INTERACTIONS_FILE],
        rows=int(by_user["len"].sum()),
        users=by_user["userId"].to_numpy().astype(np.int64),
        counts=by_user["len"].to_numpy().astype(np.int64),
        movies=movies["movieId"].to_numpy().astype(np.int64),
        rated=rated["movieId"].to_numpy().astype(np.int64),
    )


def _sample(users: Ids, manifest_sha256: str) -> Ids:
    """Chooses users that the trainer cannot know, but a repeated step chooses again."""
    seed = [int(manifest_sha256[at : at + 8] or "0", 16) for at in range(0, 64, 8)]
    return np.sort(np.random.default_rng(seed).permutation(users)[:_SAMPLE])


def _users_with_unrated(dataset: _Dataset) -> int:
    """Returns for how many users the trainer records recommendations, at least.

    Users who have rated every movie get none; the trainer's sample may contain all of them.
    """
    complete = int(np.count_nonzero(dataset.counts >= len(dataset.movies)))
    return max(0, min(contract.GOLDEN_USERS, len(dataset.users)) - complete)


def _relation(release: Release, table: str) -> str:
    return f"{contract.LEDGER_SCHEMA}.{contract.table_name(table, release.release_id)}"


def _table_facts(
    conn: Connection,
    release: Release,
    name: str,
    needed: Ids,
    allowed: Ids,
    stated: int | None,
) -> TableFacts:
    table = contract.public_table(name)
    relation = vectors.relation_identifier(_relation(release, name))
    ids_query = sql.SQL("select {} from {}").format(sql.Identifier(table.id_column), relation)
    ids = np.array(conn.execute(ids_query).fetchall(), np.int64).reshape(-1)
    recorded = release.tables.get(name, {})
    # The pipeline has computed these vectors itself; towers are compared by what they recommend.
    own = table.artifact is None
    with long_statement(conn, 60 + len(ids) / 500):
        row = conn.execute(
            sql.SQL("select count(distinct vector) from {}").format(relation)
        ).fetchone()
    return TableFacts(
        rows=len(ids),
        stated=recorded.get("rows") if stated is None else stated,
        missing=len(np.setdiff1d(needed, ids)),
        unknown=len(np.setdiff1d(ids, allowed)),
        distinct=row[0] if row else 0,
        changed=_is_changed(conn, table, release, recorded) if own else None,
    )


def _is_changed(
    conn: Connection, table: PublicTable, release: Release, recorded: Mapping[str, Any]
) -> int:
    return int(
        not vectors.content_is_as_loaded(
            conn,
            table,
            release.release_id,
            digest=recorded.get("digest", ""),
            rows=recorded.get("rows", 0),
        )
    )


def _wrong_counts(conn: Connection, release: Release, dataset: _Dataset) -> int:
    """Returns for how many users ``seen`` has another number of movies than they have rated."""
    query = sql.SQL("select userid, cardinality(seen) from {}").format(
        vectors.relation_identifier(_relation(release, "user_towers"))
    )
    found = dict(conn.execute(query).fetchall())
    expected = dict(zip(dataset.users.tolist(), dataset.counts.tolist(), strict=True))
    return sum(found.get(user) != count for user, count in expected.items())


def _wrong_seen(conn: Connection, release: Release, users: Ids, rated: pl.DataFrame) -> int:
    """Returns for how many users ``seen`` is not what they have rated, newest first."""
    query = sql.SQL("select userid, seen from {} where userid = any(%s)").format(
        vectors.relation_identifier(_relation(release, "user_towers"))
    )
    found = dict(conn.execute(query, (users.tolist(),)).fetchall())
    times: dict[int, dict[int, int]] = {}
    for user, movie, timestamp in rated.iter_rows():
        times.setdefault(user, {})[movie] = timestamp
    return sum(not _is_newest_first(found.get(user), times[user]) for user in users.tolist())


def _is_newest_first(seen: Sequence[int] | None, times: dict[int, int]) -> bool:
    if seen is None or sorted(seen) != sorted(times):
        return False
    order = [times[movie] for movie in seen]
    return order == sorted(order, reverse=True)


def _recommended(conn: Connection, release: Release, user: int) -> list[int]:
    """Returns what the site would recommend to a user, best first."""
    try:
        found = vectors.nearest_to_user(
            conn,
            _relation(release, "user_towers"),
            _relation(release, "movie_towers"),
            user,
            contract.GOLDEN_DEPTH,
        )
    except UnknownIdError:
        return []
    return [movie for movie, _ in found]


def _read_golden(store: ObjectStore, manifest: Manifest, work: Path) -> dict[int, list[int]] | None:
    """Returns the golden recommendations by user; nothing at all if the file is not valid.

    None if the release was made by a trainer that records none.
    """
    names = {artifact.name for artifact in manifest.artifacts}
    if contract.GOLDEN_RECOMMENDATIONS_FILE not in names:
        return None
    artifact = manifest.artifact(contract.GOLDEN_RECOMMENDATIONS_FILE)
    if artifact.size > _MAX_GOLDEN:
        log.warning("%s is not read: it has %d bytes", artifact.key, artifact.size)
        return {}
    try:
        path = work / artifact.name
        store.download(artifact.key, path, artifact.sha256)
        golden = GoldenRecommendations.model_validate_json(path.read_bytes())
    except ValidationError as error:
        log.warning("%s is not valid: %s", artifact.key, first_invalid_field(error))
        return {}
    return golden.by_user()
