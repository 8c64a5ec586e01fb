"""Movie vectors of a dataset whose features are in a real object store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys import contract, ledger, pipeline, vectors
from recsys.contract import Build, BuildSettings, FeatureSettings
from recsys.errors import ArtifactError
from recsys.object_store import ObjectStore
from recsys.pipeline import Run
from recsys.services import Services
from recsys.vectors import make_movie_vectors
from recsys.vectors.movie_vectors import compute_movie_vectors
from tests.actors import an_actor

MD5 = "0123456789abcdef" * 2


def features_key(name: str) -> str:
    return contract.features_key(FeatureSettings().prefix(MD5), name)


def test_vectors_are_made_from_the_stored_features(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    pairs = [(u, m) for u in range(1, 40) for m in range(1, 30) if rng.random() < 0.3]
    interactions = pl.DataFrame(
        pairs, schema={"userId": pl.Int32, "movieId": pl.Int32}, orient="row"
    ).with_columns(
        rating=pl.Series(rng.integers(1, 11, len(pairs)) / 2, dtype=pl.Float32),
        timestamp=pl.Series(rng.integers(0, 1_500_000_000, len(pairs))),
    )
    movies = pl.DataFrame(
        {
            "movieId": range(1, 31),
            "title": [f"{chr(65 + m // 2) * 3} {m % 2 + 1} (1999)" for m in range(30)],
            "year": [1999] * 30,
            "genres": [["Drama"]] * 30,
        },
        schema_overrides={"movieId": pl.Int32, "year": pl.Int16},
    )
    for name, frame in (
        (contract.INTERACTIONS_FILE, interactions),
        (contract.MOVIES_FILE, movies),
    ):
        frame.write_parquet(tmp_path / name)
        object_store.put_file(features_key(name), tmp_path / name)
    work = tmp_path / "work"
    work.mkdir()

    made = make_movie_vectors(MD5, object_store, FeatureSettings(), work)

    expected = compute_movie_vectors(interactions, movies, dim=contract.MOVIE_VECTOR_DIM)
    np.testing.assert_array_equal(made.ids, expected.ids)
    np.testing.assert_array_equal(made.vectors, expected.vectors)


def test_the_quality_of_the_vectors_is_part_of_the_facts_of_the_release(
    services: Services, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    pairs = [(u, m) for u in range(1, 40) for m in range(1, 30) if rng.random() < 0.4]
    interactions = pl.DataFrame(
        [(u, m, 4.5, 1_000_000_000, "holdout" if m > 25 else "train") for u, m in pairs],
        schema={
            "userId": pl.Int32,
            "movieId": pl.Int32,
            "rating": pl.Float32,
            "timestamp": pl.Int64,
            "split": pl.Enum(["train", "holdout"]),
        },
        orient="row",
    )
    # Every second user rated in training what the others have in the holdout.
    interactions = interactions.with_columns(
        split=pl.when(pl.col("userId") % 2 == 0).then(pl.lit("train")).otherwise(pl.col("split"))
    )
    movies = pl.DataFrame(
        {
            "movieId": range(1, 31),
            "title": [f"{chr(65 + m // 2) * 3} {m % 2 + 1} (1999)" for m in range(30)],
            "year": [1999] * 30,
            "genres": [["Drama"]] * 30,
        },
        schema_overrides={"movieId": pl.Int32, "year": pl.Int16},
    )
    for name, frame in (
        (contract.INTERACTIONS_FILE, interactions),
        (contract.MOVIES_FILE, movies),
    ):
        frame.write_parquet(tmp_path / name)
        services.store.put_file(features_key(name), tmp_path / name)
    build = Build(
        dataset_md5=MD5,
        trainer_digest=f"sha256:{'0' * 64}",
        settings=BuildSettings().model_dump(mode="json"),
    )
    run = Run(run_id="run", source="nowhere", build=build)
    with services.connect() as conn:
        ledger.prepare(conn)
        vectors.enable_vector_extension(conn)
        ledger.begin_build(
            conn, build, run_id="run", run_nonce=run.run_nonce, actor=an_actor("test", "test")
        )

    first = pipeline.load_movie_vectors(services, run)
    second = pipeline.load_movie_vectors(services, run)

    assert first == second
    assert set(first["quality"]["found"]) == {"movie_vectors", "raw_cosine", "popularity"}
    assert first["quality"]["found"]["movie_vectors"]["hit_rate"] == 1
    # Pairs of movies have a stem of their title in common; none of them is of a known series.
    assert first["quality"]["franchises"]["families"] >= 5
    assert first["quality"]["series"] is None
    with services.connect() as conn:
        assert ledger.get(conn, run.release_id).tables["movie_vectors"] == first


def test_missing_features_are_an_error(object_store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        make_movie_vectors(MD5, object_store, FeatureSettings(), tmp_path)
