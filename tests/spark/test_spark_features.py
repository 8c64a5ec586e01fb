"""Compares the features of the real dataset by Spark with those of one machine.

Spark works with its own account, under the policy of docker/s3, which the server enforces; all else
is done with the pipeline's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from recsys import contract
from recsys.contract import FeatureSettings
from recsys.dataset import fetch_dataset, read_source_md5
from recsys.features import Stats, generate_data_frames, read_stats
from recsys.object_store import ObjectStore
from recsys.spark.submit import SparkSubmit
from recsys.vectors import MovieVectors, stored_movie_vectors
from recsys.vectors.movie_vectors import compute_movie_vectors, read_movies
from tests.neighbor_hit_rate import hide_last_liked, neighbor_hit_rate
from tests.s3_accounts import Guarded, guarded_server

# Java and Spark start slowly on a busy machine.
pytestmark = pytest.mark.timeout(900)

FILES = (contract.INTERACTIONS_FILE, contract.MOVIES_FILE, contract.QUARANTINE_FILE)


class Made(NamedTuple):
    """Features of one engine."""

    stats: Stats
    files: dict[str, bytes]
    vectors: MovieVectors


@pytest.fixture(scope="module")
def both(
    ml_latest_small: Path,
    spark: SparkSubmit,
    repository: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Made]:
    """Features of ml-latest-small by each engine, made one after the other in one bucket."""
    with guarded_server(repository, tmp_path_factory.mktemp("s3")) as server:
        return make_both(ml_latest_small, spark, server, tmp_path_factory)


def make_both(
    ml_latest_small: Path,
    spark: SparkSubmit,
    server: Guarded,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Made]:
    store, settings = ObjectStore.connect(server.settings("pipeline")), FeatureSettings()
    work = tmp_path_factory.mktemp("work")
    md5 = read_source_md5(str(ml_latest_small))
    fetch_dataset(str(ml_latest_small), md5, store)
    for subcommand in ("frames", "vectors"):
        spark.run(subcommand, md5, settings, server.settings("spark"))
    on_spark = read_stats(settings.prefix(md5), store)
    assert on_spark is not None
    vectors = stored_movie_vectors(store, on_spark, work)
    assert vectors is not None
    made = {"spark": Made(on_spark, _files(store, md5), vectors)}
    assert store.keys(contract.spark_prefix(settings.prefix(md5))) == []
    # With the statistics, the local engine would reuse the features of Spark.
    store.delete([contract.features_key(settings.prefix(md5), contract.STATS_FILE)])
    local = generate_data_frames(md5, store, settings, work)
    files = _files(store, md5)
    for name in FILES:
        (work / name).write_bytes(files[name])
    vectors = compute_movie_vectors(
        pl.scan_parquet(work / contract.INTERACTIONS_FILE),
        read_movies(work / contract.MOVIES_FILE),
        dim=settings.vector_dim,
    )
    return made | {"local": Made(local, files, vectors)}


def _files(store: ObjectStore, md5: str) -> dict[str, bytes]:
    return {
        name: store.get_bytes(contract.features_key(FeatureSettings().prefix(md5), name))
        for name in FILES
    }


@pytest.mark.parametrize("name", FILES)
def test_tables_are_the_same_bytes(both: dict[str, Made], name: str) -> None:
    assert both["spark"].files[name] == both["local"].files[name]


def test_statistics_are_equal(both: dict[str, Made]) -> None:
    assert both["spark"].stats == both["local"].stats
    assert both["spark"].stats.interactions == 100_836


def test_movie_vectors_have_the_same_cosines_and_neighbors(
    both: dict[str, Made], record_property: Callable[[str, object], None]
) -> None:
    spark, local = both["spark"].vectors, both["local"].vectors
    assert np.array_equal(spark.ids, local.ids)
    chosen = np.arange(0, len(local.ids), 7)
    cosines = {
        name: made.vectors[chosen] @ made.vectors.T
        for name, made in (("spark", spark), ("local", local))
    }
    apart = float(np.abs(cosines["spark"] - cosines["local"]).max())
    nearest = {name: np.argsort(-found, kind="stable")[:, :11] for name, found in cosines.items()}
    # Neighbors may only differ where both are equally near.
    rows = np.arange(len(chosen))[:, None]
    limit = cosines["local"][rows, nearest["local"]].min(axis=1, keepdims=True)
    assert apart <= 1e-3
    assert (cosines["local"][rows, nearest["spark"]] >= limit - 1e-3).all()
    same = np.mean(
        [
            len(set(a) & set(b)) / 11
            for a, b in zip(nearest["spark"].tolist(), nearest["local"].tolist(), strict=True)
        ]
    )
    assert same >= 0.99
    record_property("figure", f"spark: cosines differ by at most {apart:.1e}, {same:.2%} same")


def test_movie_vectors_have_the_same_hit_rate(both: dict[str, Made], tmp_path: Path) -> None:
    path = tmp_path / "interactions.parquet"
    path.write_bytes(both["local"].files[contract.INTERACTIONS_FILE])
    train, hidden = hide_last_liked(pl.read_parquet(path))
    rates = [neighbor_hit_rate(made.vectors, train, hidden) for made in both.values()]
    assert abs(rates[0] - rates[1]) <= 0.01
    # The hidden rows are part of these vectors, so the rates must be far above chance.
    assert min(rates) > 0.2
