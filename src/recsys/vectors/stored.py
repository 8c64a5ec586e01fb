"""Movie vectors in the object store, next to the features that they were made from."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import polars as pl

from recsys import contract
from recsys.contract import FeatureSettings
from recsys.errors import ArtifactError
from recsys.features import Stats, find_features
from recsys.object_store import ObjectStore, file_sha256
from recsys.vectors.movie_vectors import MovieVectors, download_tables, make_movie_vectors
from recsys.vectors.rows import read_vectors

log = logging.getLogger(__name__)


def put_movie_vectors(
    store: ObjectStore, stats: Stats, vectors: MovieVectors, work_dir: Path
) -> None:
    """Stores vectors with a digest of the statistics of their features as metadata."""
    path = work_dir / contract.MOVIE_VECTORS_FILE
    dim = vectors.vectors.shape[1]
    table = pl.DataFrame({"id": vectors.ids, "vector": vectors.vectors})
    table.cast({"vector": pl.Array(pl.Float32, dim)}).write_parquet(path)
    store.put_file(
        contract.features_key(stats.prefix, contract.MOVIE_VECTORS_FILE),
        path,
        {"sha256": file_sha256(path), "made-of": _digest(stats)},
    )


def stored_movie_vectors(store: ObjectStore, stats: Stats, work_dir: Path) -> MovieVectors | None:
    """Reads the stored vectors; None if there are none, undamaged, made from these features."""
    key = contract.features_key(stats.prefix, contract.MOVIE_VECTORS_FILE)
    stored = store.head(key)
    if stored is None or stored.metadata.get("made-of") != _digest(stats):
        return None
    path = work_dir / contract.MOVIE_VECTORS_FILE
    try:
        store.download(key, path, stored.metadata["sha256"])
    except ArtifactError as error:
        log.warning("computing the movie vectors again: %s", error)
        return None
    ids, vectors, _ = read_vectors(path)
    return MovieVectors(ids, vectors)


def obtain_movie_vectors(
    md5: str, store: ObjectStore, settings: FeatureSettings, work_dir: Path
) -> MovieVectors:
    """Returns the stored vectors of a dataset; computes them if there are none.

    Args:
        md5: the dataset's md5.
        store: holds the features.
        settings: settings with the dimension.
        work_dir: an existing folder for the downloaded tables, which are not deleted.

    Raises:
        ArtifactError: there are no features, or the stored vectors do not have their sha256.
        VectorError: the features have no interactions.
    """
    stats = find_features(md5, store, settings)
    stored = stored_movie_vectors(store, stats, work_dir) if stats else None
    if stored is None:
        return make_movie_vectors(md5, store, settings, work_dir)
    download_tables(settings.prefix(md5), store, work_dir)
    return stored


def _digest(stats: Stats) -> str:
    """Digest of the statistics: equal for equal settings and equal files, from any engine."""
    return hashlib.sha256(stats.to_json()).hexdigest()
