"""Movie vectors of a dataset whose features are in a real object store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys import contract
from recsys.errors import ArtifactError
from recsys.object_store import ObjectStore
from recsys.settings import FeatureSettings
from recsys.vectors import compute_movie_vectors, make_movie_vectors

MD5 = "0123456789abcdef" * 2


def test_vectors_are_made_of_the_features_in_the_store(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    pairs = [(u, m) for u in range(1, 40) for m in range(1, 30) if rng.random() < 0.3]
    interactions = pl.DataFrame(
        pairs, schema={"userId": pl.Int32, "movieId": pl.Int32}, orient="row"
    )
    movies = pl.DataFrame(
        {"movieId": range(1, 31), "year": [1999] * 30, "genres": [["Drama"]] * 30},
        schema_overrides={"movieId": pl.Int32, "year": pl.Int16},
    )
    for name, frame in (
        (contract.INTERACTIONS_FILE, interactions),
        (contract.MOVIES_FILE, movies),
    ):
        frame.write_parquet(tmp_path / name)
        object_store.put_file(contract.features_key(MD5, name), tmp_path / name)
    work = tmp_path / "work"
    work.mkdir()

    made = make_movie_vectors(MD5, object_store, FeatureSettings(), work)

    expected = compute_movie_vectors(interactions, movies, dim=contract.MOVIE_VECTOR_DIM)
    np.testing.assert_array_equal(made.ids, expected.ids)
    np.testing.assert_array_equal(made.vectors, expected.vectors)


def test_missing_features_are_an_error(object_store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        make_movie_vectors(MD5, object_store, FeatureSettings(), tmp_path)
