"""From the dataset to its features in the store and its movie vectors in the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from recsys import contract, dataset, features, ledger, vectors
from recsys.errors import ArtifactError
from recsys.features import DriftSettings
from recsys.pipeline.run import Run
from recsys.pipeline.tables import load_table
from recsys.scratch import scratch_folder
from recsys.services import Services

_MOVIE_VECTORS: Final = next(t for t in contract.PUBLIC_TABLES if t.artifact is None)


def fetch_dataset(
    services: Services, run: Run, progress: Callable[[int, int | None], None] | None = None
) -> dataset.FetchedDataset:
    """Brings the dataset's zip into the store, verified; nothing is done if it is there."""
    return dataset.fetch_dataset(
        run.source, run.build.dataset_md5, services.store, s3=services.s3, progress=progress
    )


def generate_data_frames(services: Services, run: Run) -> features.Stats:
    """Makes interactions, movies and quarantine from the dataset; nothing if they are there."""
    with scratch_folder("frames") as work:
        return features.generate_data_frames(
            run.build.dataset_md5, services.store, run.features, work
        )


def measure_drift(services: Services, run: Run, settings: DriftSettings) -> features.Drift | None:
    """Holds the dataset against the champion's.

    Returns:
        None if there is nothing to compare with: no champion, or one made of the same dataset, or
        of a dataset whose features are gone.

    Raises:
        DatasetError: it has drifted beyond a hard limit.
    """
    md5 = run.build.dataset_md5
    with services.connect() as conn:
        champion = ledger.champion(conn)
    if champion is None or champion.dataset_md5 == md5:
        return None
    found = features.measure_drift(md5, champion.dataset_md5, services.store)
    if found is not None:
        features.check_drift(found, settings)
    return found


def enable_vector_extension(services: Services) -> None:
    """Enables pgvector in the vector database."""
    with services.connect() as conn:
        vectors.enable_vector_extension(conn)


def load_movie_vectors(services: Services, run: Run) -> dict[str, Any]:
    """Computes the movie vectors, measures how good they are, and loads them.

    Returns:
        Facts of the table: rows, digest, quality (`vector_quality.VectorQuality`, or None where
        the holdout says nothing).
    """
    with services.connect() as conn:
        release = ledger.get(conn, run.release_id)
        if release.completed_at:
            return dict(release.tables[_MOVIE_VECTORS.name])
    with scratch_folder("vectors") as work:
        made = vectors.obtain_movie_vectors(
            run.build.dataset_md5, services.store, run.features, work
        )
        quality = vectors.measure_quality(work, dim=run.features.vector_dim)
    facts = {"quality": quality.model_dump(mode="json") if quality else None}
    return load_table(services, run, _MOVIE_VECTORS, made.ids, made.vectors, {}, facts)


def check_vectors(services: Services, run: Run) -> vectors.VectorMeasurements:
    """Checks the loaded movie vectors: counts, norms, recall and speed of the index."""
    stats = features.read_stats(run.build.dataset_md5, services.store)
    if stats is None:
        raise ArtifactError(
            "the features of this dataset are gone",
            expected=contract.features_key(run.build.dataset_md5, contract.STATS_FILE),
            hint="clear generate_data_frames to make them again",
        )
    with services.connect() as conn:
        return vectors.check_vectors(
            conn, _MOVIE_VECTORS, run.release_id, expected_rows=stats.rated_movies
        )
