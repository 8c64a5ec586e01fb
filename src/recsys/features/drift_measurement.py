"""Measuring the drift of a dataset from the champion's dataset.

The drift of a pair of datasets is measured once and stored. It is compared with the limits of
`DriftSettings` whenever a run needs a decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from recsys import contract
from recsys.evaluation import HASHES, ID_TYPES, place_of
from recsys.features.drift import Drift, population_stability, read_drift
from recsys.features.erased_users import ErasedUsers
from recsys.features.profile import Profiler
from recsys.features.stats import Stats, read_stats
from recsys.object_store import ObjectStore
from recsys.scratch import scratch_folder

_DAY: Final = 86_400
SAMPLE_USERS: Final = 20_000
"""About so many of the champion's users are looked up pair by pair."""


@dataclass(frozen=True)
class Ids:
    """Ids of the interactions of a dataset.

    Attributes:
        users: each user once.
        movies: each rated movie once.
        pairs: userId, movieId of a sample of the champion's users.
    """

    users: pl.Series
    movies: pl.Series
    pairs: pl.DataFrame


def measure_drift(
    prefix: str, champion_prefix: str, store: ObjectStore, erased: ErasedUsers | None = None
) -> Drift | None:
    """Compares the features of a dataset with the champion's and stores the result.

    The stored result is reused while the interactions of both datasets are unchanged.

    Args:
        prefix: prefix of the dataset's features.
        champion_prefix: prefix of the features of the champion's dataset.
        store: holds both.
        erased: users whom the dataset's features leave out. The champion's are compared without
            them: their absence is no drift.

    Returns:
        None if the features of either dataset are missing.
    """
    stats, then = read_stats(prefix, store), read_stats(champion_prefix, store)
    if stats is None or then is None:
        return None
    sha256 = (
        stats.sha256[contract.INTERACTIONS_FILE],
        then.sha256[contract.INTERACTIONS_FILE],
    )
    stored = read_drift(prefix, then.md5, store)
    if stored is not None and stored.sha256 == sha256:
        return stored
    with scratch_folder("drift") as folder:
        path = _download_interactions(store, champion_prefix, then, folder)
        gone: frozenset[int] = frozenset()
        if erased:
            then, gone = _without(path, then, champion_prefix, store, erased)
        # The champion's dataset may have had shorter ids; both are compared in the longer ones.
        kind = ID_TYPES[max(stats.settings.id_bits, then.settings.id_bits)]
        then_ids = _read_ids(path, _is_sampled(then.users), kind, gone)
        # Only these users, so that the pairs fit into memory however much the dataset has grown.
        sampled = pl.col("userId").is_in(then_ids.pairs["userId"].unique().implode())
        now_ids = _read_ids(_download_interactions(store, prefix, stats, folder), sampled, kind)
    drift = compute_drift(stats, then, now_ids, then_ids)
    store.put_bytes(contract.drift_key(prefix, then.md5), drift.to_json())
    return drift


def compute_drift(now: Stats, then: Stats, now_ids: Ids, then_ids: Ids) -> Drift:
    """Computes the drift between two datasets.

    Args:
        now: statistics of the dataset.
        then: statistics of the champion's dataset.
        now_ids: ids of the dataset's interactions.
        then_ids: ids of the champion's interactions.
    """
    names = ("ratings", "user_activity", "movie_popularity", "release_years", "genres")
    return Drift(
        md5=now.md5,
        champion_md5=then.md5,
        sha256=(now.sha256[contract.INTERACTIONS_FILE], then.sha256[contract.INTERACTIONS_FILE]),
        psi={
            name: population_stability(getattr(now.profile, name), getattr(then.profile, name))
            for name in names
        },
        vanished_users=_missing_share(then_ids.users, now_ids.users),
        new_users=_missing_share(now_ids.users, then_ids.users),
        vanished_movies=_missing_share(then_ids.movies, now_ids.movies),
        new_movies=_missing_share(now_ids.movies, then_ids.movies),
        changed_pairs=_changed_pairs(now_ids, then_ids),
        row_growth=now.interactions / then.interactions - 1,
        newest_days=(now.last_timestamp - then.last_timestamp) / _DAY,
    )


def _changed_pairs(now: Ids, then: Ids) -> float | None:
    kept = then.pairs.filter(
        pl.col("userId").is_in(now.users.implode()) & pl.col("movieId").is_in(now.movies.implode())
    )
    if kept.is_empty():
        return None
    return kept.join(now.pairs, on=["userId", "movieId"], how="anti").height / kept.height


def _is_sampled(users: int) -> pl.Expr:
    """Selects about `SAMPLE_USERS` of the users of a dataset, always the same ones."""
    place: pl.Expr = place_of(pl.col("userId").cast(pl.UInt64))
    return place < int(min(1.0, SAMPLE_USERS / users) * HASHES)


def _download_interactions(store: ObjectStore, prefix: str, stats: Stats, folder: Path) -> Path:
    key = contract.features_key(prefix, contract.INTERACTIONS_FILE)
    path = folder / contract.INTERACTIONS_FILE
    store.download(key, path, stats.sha256[contract.INTERACTIONS_FILE])
    return path


def _without(
    path: Path, stats: Stats, prefix: str, store: ObjectStore, erased: ErasedUsers
) -> tuple[Stats, frozenset[int]]:
    """Returns the statistics that drift compares without erased users, and who these are."""
    table = pl.scan_parquet(path)
    users = table.select(pl.col("userId").unique()).collect(engine="streaming")["userId"]
    gone = erased.find(users.to_list())
    if not gone or len(gone) == len(users):
        return stats, frozenset(gone)
    rows = table.filter(~pl.col("userId").is_in(sorted(gone))).collect()
    profiler = Profiler(stats.settings.scale)
    profiler.add(rows)
    movies = pl.read_parquet(store.get_bytes(contract.features_key(prefix, contract.MOVIES_FILE)))
    changed = {
        "profile": profiler.profile(movies),
        "interactions": rows.height,
        "users": len(users) - len(gone),
        "last_timestamp": profiler.last_timestamp,
    }
    return stats.model_copy(update=changed), frozenset(gone)


def _read_ids(
    path: Path, has_pairs: pl.Expr, kind: pl.DataType, gone: frozenset[int] = frozenset()
) -> Ids:
    """Reads the ids of interactions without some users, in a type, and deletes the file."""
    table = pl.scan_parquet(path).select(pl.col("userId", "movieId").cast(kind))
    if gone:
        table = table.filter(~pl.col("userId").is_in(sorted(gone)))
    users, movies = (
        table.select(pl.col(name).unique()).collect(engine="streaming")[name]
        for name in ("userId", "movieId")
    )
    pairs = table.filter(has_pairs).select("userId", "movieId").collect(engine="streaming")
    path.unlink()
    return Ids(users, movies, pairs)


def _missing_share(ids: pl.Series, others: pl.Series) -> float:
    return 1 - int(ids.is_in(others.implode()).sum()) / len(ids) if len(ids) else 0.0
