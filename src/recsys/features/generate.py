"""Makes the features of a dataset's zip: interactions, movies, quarantine and statistics."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import polars as pl

from recsys import contract
from recsys.contract import FeatureSettings
from recsys.dataset import MOVIES_CSV, RATINGS_CSV, DatasetArchive, open_dataset
from recsys.errors import ArtifactError, ConfigurationError
from recsys.features.csv_reader import read_movies, read_ratings
from recsys.features.erased_users import ErasedUsers
from recsys.features.interactions import RowSpool, write_interactions
from recsys.features.profile import Profiler
from recsys.features.quarantine import Quarantine
from recsys.features.reuse import FEATURE_FILES, find_features, put_titles
from recsys.features.split import Cuts
from recsys.features.stats import Stats
from recsys.object_store import ObjectStore, file_sha256

log = logging.getLogger(__name__)

_FETCH_AGAIN: Final = "clear the task fetch_dataset to fetch it again"
_MIN_ROW_BYTES: Final = len("1,1,1,1\n")


def generate_data_frames(
    md5: str,
    store: ObjectStore,
    settings: FeatureSettings,
    work_dir: Path,
    progress: Callable[[int, int | None], None] | None = None,
    erased: ErasedUsers | None = None,
) -> Stats:
    """Makes interactions, movies and quarantine from a stored dataset; writes statistics last.

    Features that were made with the same settings are reused. The same dataset and settings give
    the same bytes.

    Args:
        md5: the dataset.
        store: holds ``datasets/<md5>/dataset.zip``; the features go to
            ``features/<md5>/<fingerprint of the settings>/``.
        settings: shares of the holdouts, and largest shares of invalid rows tolerated, by rule.
        work_dir: an existing folder for temporary files, about 5 times the zip.
        progress: called with the bytes of ratings.csv read so far, and their total.
        erased: users whose rows are left out; those that ``settings`` name by their digest.

    Raises:
        DatasetError: the archive is damaged, columns are missing, no row is valid, or more rows
            are invalid than ``settings`` tolerate.
        ArtifactError: the dataset is not in the store, or does not have its recorded sha256.
    """
    check_erased(settings, erased)
    stats = find_features(md5, store, settings)
    if stats is not None and are_whole(stats, store):
        return stats
    with TemporaryDirectory(prefix="features-", dir=work_dir) as folder:
        work = Path(folder)
        zip_path = work / contract.DATASET_FILE
        download_dataset(md5, store, zip_path)
        with open_dataset(zip_path, columns=settings.columns) as archive:
            stats = make_features(archive, md5, settings, work, progress, erased=erased)
        put_features(store, stats, work)
    return stats


def check_erased(settings: FeatureSettings, erased: ErasedUsers | None) -> None:
    """Raises ConfigurationError unless the erased users are those that the settings name."""
    given = erased.digest if erased else None
    if settings.erased != given:
        raise ConfigurationError(
            "the settings of the features name another list of erased users",
            found=f"digest {given}",
            expected=f"digest {settings.erased}",
            hint="start a new run, which reads the list again",
        )


def are_whole(stats: Stats, store: ObjectStore) -> bool:
    """Returns whether the files of stored features are those of their statistics, by reading."""
    for name in FEATURE_FILES:
        key = contract.features_key(stats.prefix, name)
        if not store.holds(key, stats.sha256[name]):
            log.warning("%s is damaged or missing; making the features again", key)
            return False
    return True


def put_features(store: ObjectStore, stats: Stats, folder: Path) -> None:
    """Stores the three files of ``folder``, then the statistics, which mark them as complete."""
    stats_key = contract.features_key(stats.prefix, contract.STATS_FILE)
    # Deleted first: the old statistics must not mark a mix of old and new files as complete.
    store.delete([stats_key])
    for name in FEATURE_FILES:
        store.put_file(
            contract.features_key(stats.prefix, name), folder / name, {"sha256": stats.sha256[name]}
        )
    put_titles(store, stats)
    store.put_bytes(stats_key, stats.to_json())


def download_dataset(md5: str, store: ObjectStore, path: Path) -> None:
    """Downloads a dataset's zip and checks its sha256.

    Raises:
        ArtifactError: the dataset is not in the store, or does not have its recorded sha256.
    """
    key = contract.dataset_key(md5, contract.DATASET_FILE)
    stored = store.head(key)
    if stored is None or "sha256" not in stored.metadata:
        raise ArtifactError(
            "the dataset is not in the store",
            expected=key,
            hint=_FETCH_AGAIN,
        )
    try:
        store.download(key, path, stored.metadata["sha256"])
    except ArtifactError as error:
        error.hint = _FETCH_AGAIN
        raise


def make_features(
    archive: DatasetArchive,
    md5: str,
    settings: FeatureSettings,
    folder: Path,
    progress: Callable[[int, int | None], None] | None = None,
    quarantine: Quarantine | None = None,
    erased: ErasedUsers | None = None,
) -> Stats:
    """Makes interactions, movies and quarantine from an open dataset, in one pass over its rows.

    The interactions are the same bytes for any order of the rows.

    Args:
        archive: the dataset.
        md5: md5 of the dataset.
        settings: shares of the holdouts, and largest shares of invalid rows tolerated, by rule.
        folder: an existing folder for the three files and for temporary files.
        progress: called with the bytes of ratings.csv read so far, and their total.
        quarantine: gets the rejected rows, also those of a dataset that fails; by default, one
            with temporary files.
        erased: users whose rows are left out.

    Raises:
        DatasetError: the archive is damaged, columns are missing, no row is valid, or more rows
            are invalid than ``settings`` tolerate.
    """
    with TemporaryDirectory(prefix="rows-", dir=folder) as temporary:
        spool_folder = Path(temporary, "valid")
        spool_folder.mkdir()
        if quarantine is None:
            rejected_folder = Path(temporary, "rejected")
            rejected_folder.mkdir()
            quarantine = Quarantine(rejected_folder, (MOVIES_CSV, RATINGS_CSV))
        movies = read_valid_movies(archive, settings, quarantine)
        movies.write_parquet(folder / contract.MOVIES_FILE)

        spool = RowSpool(spool_folder)
        _read_ratings(archive, movies["movieId"], settings, quarantine, spool, progress, erased)
        profiler = Profiler(settings.scale)
        splits: Counter[str] = Counter()
        rejected = quarantine

        def measure(rows: pl.DataFrame) -> None:
            splits.update(dict(rows["split"].value_counts().iter_rows()))
            profiler.add(rows)

        cuts = write_interactions(
            spool,
            folder / contract.INTERACTIONS_FILE,
            settings,
            on_rows=measure,
            on_duplicates=lambda replaced: rejected.add_duplicates(RATINGS_CSV, replaced),
        )
        quarantine.check(RATINGS_CSV, settings)
        quarantine.write(folder / contract.QUARANTINE_FILE)
    return make_stats(md5, settings, folder, movies, profiler, splits, quarantine, cuts)


def make_stats(
    md5: str,
    settings: FeatureSettings,
    folder: Path,
    movies: pl.DataFrame,
    profiler: Profiler,
    splits: Mapping[str, int],
    quarantine: Quarantine,
    cuts: Cuts,
) -> Stats:
    """Computes the statistics of complete features.

    Args:
        md5: md5 of the dataset.
        settings: settings that the features were made with.
        folder: folder of the three files.
        movies: ``validation.MOVIE_SCHEMA``.
        profiler: profiler that all interactions were added to.
        splits: number of interactions by split.
        quarantine: quarantine that all rejected rows were added to.
        cuts: where the interactions were cut.
    """
    profile = profiler.profile(movies)
    rated_movies = movies.height - profile.movie_popularity["0"]
    return Stats(
        md5=md5,
        settings=settings,
        interactions=profiler.rows,
        train=splits["train"],
        holdout=splits["holdout"],
        later=splits["later"],
        moment=cuts.moment,
        users=profiler.users,
        movies=movies.height,
        rated_movies=rated_movies,
        density=profiler.rows / (profiler.users * rated_movies),
        first_timestamp=profiler.first_timestamp,
        last_timestamp=profiler.last_timestamp,
        mean_rating=profiler.mean_rating(),
        profile=profile,
        files={file: quarantine.stats(file) for file in (RATINGS_CSV, MOVIES_CSV)},
        sha256={name: file_sha256(folder / name) for name in FEATURE_FILES},
    )


def read_valid_movies(
    archive: DatasetArchive, settings: FeatureSettings, quarantine: Quarantine
) -> pl.DataFrame:
    """Reads movies.csv; adds the rejected rows to ``quarantine``.

    Raises:
        DatasetError: too many rows are invalid, or no row is valid.
    """
    movies = read_movies(archive.chunks(MOVIES_CSV), archive.columns.of_items, settings.id_bits)
    quarantine.read(MOVIES_CSV, movies.read)
    quarantine.add(movies.rejected)
    quarantine.check(MOVIES_CSV, settings)
    if not movies.rows.height:
        raise quarantine.no_valid_rows(MOVIES_CSV)
    return movies.rows


def _read_ratings(
    archive: DatasetArchive,
    movie_ids: pl.Series,
    settings: FeatureSettings,
    quarantine: Quarantine,
    spool: RowSpool,
    progress: Callable[[int, int | None], None] | None,
    erased: ErasedUsers | None,
) -> None:
    size = archive.size(RATINGS_CSV)
    chunks = _Counted(archive.chunks(RATINGS_CSV))
    given, scale = archive.columns.of_ratings, settings.scale
    for batch in read_ratings(chunks, movie_ids, erased, given, scale):
        spool.add(batch.rows)
        quarantine.read(RATINGS_CSV, batch.read)
        quarantine.add(batch.rejected)
        # Fails early: even if all other rows had the minimum length, too many would be invalid.
        quarantine.check(RATINGS_CSV, settings, at_least=size // _MIN_ROW_BYTES)
        if progress:
            progress(chunks.done, size)
    quarantine.check(RATINGS_CSV, settings)
    if not spool.rows:
        raise quarantine.no_valid_rows(RATINGS_CSV, settings.scale)


class _Counted:
    """Iterates over chunks and counts their bytes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.done = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.done += len(chunk)
            yield chunk
