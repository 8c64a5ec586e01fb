"""Vectors stored by another engine are reused if they were made from exactly these features."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from recsys import contract
from recsys.contract import FeatureSettings
from recsys.dataset import write_sample
from recsys.features import Stats, generate_data_frames
from recsys.object_store import ObjectStore
from recsys.vectors import (
    MovieVectors,
    obtain_movie_vectors,
    put_movie_vectors,
    stored_movie_vectors,
)

SETTINGS = FeatureSettings()


@pytest.fixture
def stats(object_store: ObjectStore, tmp_path: Path) -> Stats:
    """Stores the features of a small sample; returns their statistics."""
    path = tmp_path / "sample.zip"
    write_sample(path, ratings=2000)
    content = path.read_bytes()
    md5 = hashlib.new("md5", content, usedforsecurity=False).hexdigest()
    sha256 = hashlib.sha256(content).hexdigest()
    key = contract.dataset_key(md5, contract.DATASET_FILE)
    object_store.put_file(key, path, {"md5": md5, "sha256": sha256})
    return generate_data_frames(md5, object_store, SETTINGS, tmp_path)


def _vectors(rows: int) -> MovieVectors:
    """Vectors that no computation would give."""
    vectors = np.zeros((rows, SETTINGS.vector_dim), np.float32)
    vectors[np.arange(rows), np.arange(rows) % SETTINGS.vector_dim] = 1
    return MovieVectors(np.arange(1, rows + 1, dtype=np.int32), vectors)


def test_stored_vectors_are_reused_and_the_tables_downloaded(
    object_store: ObjectStore, stats: Stats, tmp_path: Path
) -> None:
    put_movie_vectors(object_store, stats, _vectors(300), tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    taken = obtain_movie_vectors(stats.md5, object_store, SETTINGS, work)
    assert np.array_equal(taken.ids, _vectors(300).ids)
    assert np.array_equal(taken.vectors, _vectors(300).vectors)
    assert (work / contract.INTERACTIONS_FILE).exists()
    assert (work / contract.MOVIES_FILE).exists()


def test_vectors_of_other_features_are_not_reused(
    object_store: ObjectStore, stats: Stats, tmp_path: Path
) -> None:
    put_movie_vectors(object_store, stats, _vectors(300), tmp_path)
    other = FeatureSettings(holdout_share=0.3)
    again = generate_data_frames(stats.md5, object_store, other, tmp_path)
    assert stored_movie_vectors(object_store, again, tmp_path) is None
    made = obtain_movie_vectors(stats.md5, object_store, other, tmp_path)
    assert len(made.ids) == again.rated_movies
    put_movie_vectors(object_store, stats, _vectors(300), tmp_path)
    repaired = stats.model_copy(update={"mean_rating": 1.0})
    assert stored_movie_vectors(object_store, repaired, tmp_path) is None


def test_changed_vectors_are_computed_again(
    object_store: ObjectStore, stats: Stats, tmp_path: Path
) -> None:
    put_movie_vectors(object_store, stats, _vectors(300), tmp_path)
    key = contract.features_key(stats.prefix, contract.MOVIE_VECTORS_FILE)
    stored = object_store.head(key)
    assert stored is not None
    object_store.put_bytes(key, b"something else", stored.metadata)
    assert stored_movie_vectors(object_store, stats, tmp_path) is None
    made = obtain_movie_vectors(stats.md5, object_store, SETTINGS, tmp_path)
    assert len(made.ids) == stats.rated_movies
