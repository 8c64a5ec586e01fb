"""Steps that write the dataset and its features to S3, and movie vectors to PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from recsys import contract, dataset, features, ledger, releases, vectors
from recsys.errors import ArtifactError, DatasetError
from recsys.features import DriftSettings
from recsys.pipeline.run import Run, abandoning_refused, continue_build, working
from recsys.pipeline.tables import load_table
from recsys.scratch import scratch_folder
from recsys.services import Services

_MOVIE_VECTORS: Final = next(t for t in contract.PUBLIC_TABLES if t.artifact is None)


def fetch_dataset(
    services: Services,
    run: Run,
    progress: Callable[[int, int | None], None] | None = None,
    settings: dataset.FetchSettings | None = None,
) -> dataset.FetchedDataset:
    """Copies the dataset's zip to S3 and verifies its md5; does nothing if it is already there.

    Nor if users were erased and the features are complete: then the zip was deleted.

    Args:
        services: PostgreSQL and S3.
        run: the run.
        progress: called with the bytes done and the total; by default progress is logged.
        settings: timeouts and credentials of the source; from the environment if not given.
    """
    with abandoning_refused(services, run), working(services, run):
        stats = features.read_stats(run.build.features_prefix, services.store)
        if run.features.erased and stats and features.are_whole(stats, services.store):
            # The raw zip is not kept, and nothing needs it again.
            return dataset.FetchedDataset(run.build.dataset_md5, "", 0, "", fetched=False)
        return dataset.fetch_dataset(
            run.source,
            run.build.dataset_md5,
            services.store,
            s3=services.s3,
            progress=progress,
            settings=settings,
            columns=run.features.columns,
        )


def generate_data_frames(services: Services, run: Run) -> features.Stats:
    """Makes interactions, movies and quarantine of the dataset, unless they already exist.

    If users were erased, the raw zip, which may hold them, is deleted afterwards, even if refused.
    """
    with services.connect() as conn:
        erased = releases.erased_users_of(conn, run.features)
    with (
        abandoning_refused(services, run),
        working(services, run),
        scratch_folder("frames") as work,
    ):
        try:
            stats = features.generate_data_frames(
                run.build.dataset_md5, services.store, run.features, work, erased=erased
            )
        except DatasetError:
            _delete_raw(services, run)
            raise
        _delete_raw(services, run)
    with services.connect() as conn:
        # Earlier code recorded no prefix.
        ledger.record_features(conn, run.release_id, stats.prefix)
    return stats


def _delete_raw(services: Services, run: Run) -> None:
    if run.features.erased:
        services.store.delete([contract.dataset_key(run.build.dataset_md5, contract.DATASET_FILE)])


def measure_drift(services: Services, run: Run, settings: DriftSettings) -> features.Drift | None:
    """Measures the drift between the dataset and the champion's dataset.

    Returns:
        None if there is no champion, if it was made from the same dataset, or if the features of
        its dataset were deleted.

    Raises:
        DatasetError: the drift exceeds a hard limit.
    """
    md5 = run.build.dataset_md5
    with services.connect() as conn:
        champion = ledger.champion(conn)
        erased = releases.erased_users_of(conn, run.features)
    if champion is None or champion.dataset_md5 == md5:
        return None
    drift = features.measure_drift(
        run.build.features_prefix, champion.features_prefix, services.store, erased
    )
    if drift is not None:
        with abandoning_refused(services, run):
            features.check_drift(drift, settings, change=_change_of_scale(champion, run))
    return drift


def _change_of_scale(champion: ledger.Release, run: Run) -> str:
    """Returns the change as text; empty if there is none."""
    before, now = champion.scale, run.features.scale
    if before == now:
        return ""
    return (
        f"the scale of the ratings changed from {before.min:g} to {before.max:g}, to "
        f"{now.min:g} to {now.max:g}, which is a drift of the ratings"
    )


def enable_vector_extension(services: Services) -> None:
    """Enables the pgvector extension in the database."""
    with services.connect() as conn:
        vectors.enable_vector_extension(conn)


def load_movie_vectors(services: Services, run: Run) -> dict[str, Any]:
    """Computes the movie vectors, measures their quality, and loads them.

    Returns:
        Facts of the table: rows, digest, and quality (the fields of `vectors.VectorQuality`, or
        None if the holdout is too small to measure it).
    """
    release = continue_build(services, run)
    if release.completed_at:
        return dict(release.tables[_MOVIE_VECTORS.name])
    with scratch_folder("vectors") as work:
        movie_vectors = vectors.obtain_movie_vectors(
            run.build.dataset_md5, services.store, run.features, work
        )
        quality = vectors.measure_quality(
            work, dim=run.features.vector_dim, served=movie_vectors, scale=run.features.scale
        )
    facts = {"quality": quality.model_dump(mode="json") if quality else None}
    return load_table(
        services, run, _MOVIE_VECTORS, movie_vectors.ids, movie_vectors.vectors, {}, facts
    )


def check_vectors(services: Services, run: Run) -> vectors.VectorMeasurements:
    """Checks the loaded movie vectors: row count, norms, and recall and speed of the index."""
    stats = features.find_features(run.build.dataset_md5, services.store, run.features)
    if stats is None:
        raise ArtifactError(
            "the features of this dataset are missing",
            expected=run.build.features_key(contract.STATS_FILE),
            hint="clear generate_data_frames to make them again",
        )
    with services.connect() as conn:
        return vectors.check_vectors(
            conn, _MOVIE_VECTORS, run.release_id, expected_rows=stats.rated_movies
        )
