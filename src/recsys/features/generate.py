"""From a dataset's zip to its features: interactions, movies, quarantine and their statistics."""

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
from recsys.errors import ArtifactError
from recsys.features.csv_reader import read_movies, read_ratings
from recsys.features.interactions import RowSpool, write_interactions
from recsys.features.profile import Profiler
from recsys.features.quarantine import Quarantine, no_valid_rows_error
from recsys.features.stats import Stats, read_stats
from recsys.object_store import ObjectStore, file_sha256

log = logging.getLogger(__name__)

_FILES: Final = (contract.INTERACTIONS_FILE, contract.MOVIES_FILE, contract.QUARANTINE_FILE)
_LEAST_ROW_BYTES: Final = len("1,1,1,1\n")


def generate_data_frames(
    md5: str,
    store: ObjectStore,
    settings: FeatureSettings,
    work_dir: Path,
    progress: Callable[[int, int | None], None] | None = None,
) -> Stats:
    """Makes interactions, movies and quarantine from a stored dataset; statistics come last.

    Features that were made with the same settings are left as they are. The same dataset and
    settings give the same bytes.

    Args:
        md5: the dataset.
        store: holds ``datasets/<md5>/dataset.zip``; the features go to ``features/<md5>/``.
        settings: holdout and the shares of broken rows that are borne.
        work_dir: an existing folder for temporary files, about 5 times the zip.
        progress: told the bytes of ratings.csv that were read, and all of them.

    Raises:
        DatasetError: the archive is damaged, columns are missing, no row is valid, or more rows
            are broken than ``settings`` bear.
        ArtifactError: the dataset is not in the store, or not what was put there.
    """
    stats = read_stats(md5, store)
    if stats is not None and stats.settings == settings:
        return stats
    with TemporaryDirectory(prefix="features-", dir=work_dir) as folder:
        work = Path(folder)
        zip_path = work / contract.DATASET_FILE
        download_dataset(md5, store, zip_path)
        with open_dataset(zip_path) as archive:
            stats = make_features(archive, md5, settings, work, progress)
        put_features(store, stats, work)
    return stats


def put_features(store: ObjectStore, stats: Stats, folder: Path) -> None:
    """Stores the three files of ``folder``, and last the statistics, which say they are whole."""
    mark = contract.features_key(stats.md5, contract.STATS_FILE)
    # The old mark goes before the files change that it vouches for.
    store.delete([mark])
    for name in _FILES:
        store.put_file(
            contract.features_key(stats.md5, name), folder / name, {"sha256": stats.sha256[name]}
        )
    store.put_bytes(mark, stats.to_json())


def download_dataset(md5: str, store: ObjectStore, path: Path) -> None:
    """Downloads a dataset's zip, checked.

    Raises:
        ArtifactError: the dataset is not in the store, or not what was put there.
    """
    key = contract.dataset_key(md5, contract.DATASET_FILE)
    stored = store.head(key)
    if stored is None or "sha256" not in stored.metadata:
        raise ArtifactError(
            "the dataset is not in the store",
            expected=key,
            hint="clear fetch_dataset to bring it there again",
        )
    store.download(key, path, stored.metadata["sha256"])


def make_features(
    archive: DatasetArchive,
    md5: str,
    settings: FeatureSettings,
    folder: Path,
    progress: Callable[[int, int | None], None] | None = None,
) -> Stats:
    """Makes interactions, movies and quarantine from an open dataset, in one pass over its rows.

    The same dataset and settings give the same bytes, whatever the order of the rows.

    Args:
        archive: the dataset.
        md5: of the dataset.
        settings: holdout and the shares of broken rows that are borne.
        folder: an existing folder for the three files, and for temporary ones meanwhile.
        progress: told the bytes of ratings.csv that were read, and all of them.

    Raises:
        DatasetError: the archive is damaged, columns are missing, no row is valid, or more rows
            are broken than ``settings`` bear.
    """
    with TemporaryDirectory(prefix="rows-", dir=folder) as temporary:
        waiting_folder, quarantine_folder = Path(temporary, "valid"), Path(temporary, "broken")
        waiting_folder.mkdir()
        quarantine_folder.mkdir()
        quarantine = Quarantine(quarantine_folder, (MOVIES_CSV, RATINGS_CSV))
        movies = read_valid_movies(archive, settings, quarantine)
        movies.write_parquet(folder / contract.MOVIES_FILE)

        waiting = RowSpool(waiting_folder)
        _read_ratings(archive, movies["movieId"], settings, quarantine, waiting, progress)
        profiler = Profiler()
        splits: Counter[str] = Counter()

        def measure(rows: pl.DataFrame) -> None:
            splits.update(dict(rows["split"].value_counts().iter_rows()))
            profiler.add(rows)

        write_interactions(
            waiting,
            folder / contract.INTERACTIONS_FILE,
            settings.holdout_share,
            on_rows=measure,
            on_duplicates=lambda lost: quarantine.add_duplicates(RATINGS_CSV, lost),
        )
        quarantine.check(RATINGS_CSV, settings)
        quarantine.write(folder / contract.QUARANTINE_FILE)
    return make_stats(md5, settings, folder, movies, profiler, splits, quarantine)


def make_stats(
    md5: str,
    settings: FeatureSettings,
    folder: Path,
    movies: pl.DataFrame,
    profiler: Profiler,
    splits: Mapping[str, int],
    quarantine: Quarantine,
) -> Stats:
    """The statistics of finished features.

    Args:
        md5: of the dataset.
        settings: what the features were made with.
        folder: holds the three files.
        movies: ``validation.MOVIE_SCHEMA``.
        profiler: was given all interactions.
        splits: interactions by split.
        quarantine: was given all rejected rows.
    """
    profile = profiler.profile(movies)
    rated_movies = movies.height - profile.movie_popularity["0"]
    return Stats(
        md5=md5,
        settings=settings,
        interactions=profiler.rows,
        train=splits["train"],
        holdout=splits["holdout"],
        users=profiler.users,
        movies=movies.height,
        rated_movies=rated_movies,
        density=profiler.rows / (profiler.users * rated_movies),
        first_timestamp=profiler.first_timestamp,
        last_timestamp=profiler.last_timestamp,
        mean_rating=profiler.mean_rating(),
        profile=profile,
        files={file: quarantine.stats(file) for file in (RATINGS_CSV, MOVIES_CSV)},
        sha256={name: file_sha256(folder / name) for name in _FILES},
    )


def read_valid_movies(
    archive: DatasetArchive, settings: FeatureSettings, quarantine: Quarantine
) -> pl.DataFrame:
    """Reads movies.csv; rejected rows go to ``quarantine``.

    Raises:
        DatasetError: too many rows are broken, or none is valid.
    """
    movies = read_movies(archive.chunks(MOVIES_CSV))
    quarantine.read(MOVIES_CSV, movies.read)
    quarantine.add(movies.rejected)
    quarantine.check(MOVIES_CSV, settings)
    if not movies.rows.height:
        raise no_valid_rows_error(MOVIES_CSV, quarantine.stats(MOVIES_CSV))
    return movies.rows


def _read_ratings(
    archive: DatasetArchive,
    movie_ids: pl.Series,
    settings: FeatureSettings,
    quarantine: Quarantine,
    waiting: RowSpool,
    progress: Callable[[int, int | None], None] | None,
) -> None:
    size = archive.size(RATINGS_CSV)
    chunks = _Counted(archive.chunks(RATINGS_CSV))
    for batch in read_ratings(chunks, movie_ids):
        waiting.add(batch.rows)
        quarantine.read(RATINGS_CSV, batch.read)
        quarantine.add(batch.rejected)
        # However short the rest of the rows: so many broken ones are already too many.
        quarantine.check(RATINGS_CSV, settings, at_least=size // _LEAST_ROW_BYTES)
        if progress:
            progress(chunks.done, size)
    quarantine.check(RATINGS_CSV, settings)
    if not waiting.rows:
        raise no_valid_rows_error(RATINGS_CSV, quarantine.stats(RATINGS_CSV))


class _Counted:
    """Chunks that count their bytes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.done = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.done += len(chunk)
            yield chunk
