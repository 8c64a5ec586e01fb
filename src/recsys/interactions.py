"""From a dataset's zip to its features: interactions, movies, quarantine and their statistics."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recsys import contract
from recsys.archive import MOVIES_CSV, RATINGS_CSV, DatasetArchive, open_dataset
from recsys.dataset_csv import Batch, read_movies, read_ratings
from recsys.errors import ArtifactError, DatasetError
from recsys.interaction_table import WaitingRows, write_interactions
from recsys.object_store import ObjectStore, file_sha256
from recsys.settings import FeatureSettings
from recsys.validation import QUARANTINE_SCHEMA, Rule

log = logging.getLogger(__name__)

_FILES: Final = (contract.INTERACTIONS_FILE, contract.MOVIES_FILE, contract.QUARANTINE_FILE)
_LEAST_ROW_BYTES: Final = len("1,1,1,1\n")


class FileStats(BaseModel):
    """What was read of one CSV file; ``rows`` = rows kept + the sum of ``quarantine``."""

    model_config = ConfigDict(frozen=True)

    rows: int = Field(ge=0, description="rows read, header and blank lines left out")
    quarantine: dict[Rule, int] = Field(description="rows kept apart, by the rule they broke")

    @property
    def broken(self) -> int:
        """Rows that broke a rule; duplicates do not count, because the last one stands."""
        return sum(count for rule, count in self.quarantine.items() if rule != Rule.DUPLICATE)

    @property
    def broken_share(self) -> float:
        """Share of ``broken`` in ``rows``."""
        return self.broken / self.rows if self.rows else 0.0


class Stats(BaseModel):
    """The features of a dataset in numbers: ``stats.json``, the mark that they are complete.

    Equal settings and md5 mean equal features, so it also says whether there is work to do.
    """

    model_config = ConfigDict(frozen=True)

    md5: contract.Md5
    settings: FeatureSettings
    interactions: int = Field(gt=0)
    train: int = Field(gt=0)
    holdout: int = Field(ge=0)
    users: int = Field(gt=0)
    movies: int = Field(gt=0, description="rows of movies.parquet")
    rated_movies: int = Field(gt=0, description="movies with an interaction")
    density: float = Field(gt=0, le=1, description="interactions / (users x rated movies)")
    first_timestamp: int = Field(description="seconds since 1970, UTC")
    last_timestamp: int
    mean_rating: float = Field(description="stars")
    rating_histogram: dict[str, int] = Field(description="interactions by stars, '0.5' to '5.0'")
    files: dict[str, FileStats] = Field(description="by file name in the dataset")
    sha256: dict[str, contract.Sha256] = Field(description="of each parquet file, by name")

    def to_json(self) -> bytes:
        """The statistics as they are stored, UTF-8."""
        return self.model_dump_json(indent=2).encode()

    @classmethod
    def from_json(cls, data: bytes | str) -> Stats:
        """Reads stored statistics; raises pydantic.ValidationError if they are none."""
        return cls.model_validate_json(data)


def read_stats(store: ObjectStore, md5: str) -> Stats | None:
    """The statistics of a dataset's features; None if there are no complete features.

    Statistics that cannot be read were written by other code: their features do not count.
    """
    key = contract.features_key(md5, contract.STATS_FILE)
    if store.head(key) is None:
        return None
    try:
        return Stats.from_json(store.get_bytes(key))
    except ValidationError as error:
        log.warning("%s cannot be read, its features will be made again: %s", key, error)
        return None


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
        settings: holdout and the share of broken rows that is borne.
        work_dir: an existing folder for temporary files, about 5 times the zip.
        progress: told the bytes of ratings.csv that were read, and all of them.

    Raises:
        DatasetError: the archive is damaged, columns are missing, no row is valid, or more than
            ``max_quarantine_share`` of a file's rows are broken.
        ArtifactError: the dataset is not in the store, or not what was put there.
    """
    stats = read_stats(store, md5)
    if stats is not None and stats.settings == settings:
        return stats
    with TemporaryDirectory(prefix="features-", dir=work_dir) as folder:
        work = Path(folder)
        zip_path = work / contract.DATASET_FILE
        _download(store, md5, zip_path)
        with open_dataset(zip_path) as archive:
            stats = _Features(work, settings).generate(md5, archive, progress)
        # The old mark goes before the files change that it vouches for.
        store.delete([contract.features_key(md5, contract.STATS_FILE)])
        for name in _FILES:
            store.put_file(
                contract.features_key(md5, name), work / name, {"sha256": stats.sha256[name]}
            )
    store.put_bytes(contract.features_key(md5, contract.STATS_FILE), stats.to_json())
    return stats


def _download(store: ObjectStore, md5: str, path: Path) -> None:
    key = contract.dataset_key(md5, contract.DATASET_FILE)
    stored = store.head(key)
    if stored is None or "sha256" not in stored.metadata:
        raise ArtifactError(
            "the dataset is not in the store",
            expected=key,
            hint="clear fetch_dataset to bring it there again",
        )
    store.download(key, path, stored.metadata["sha256"])


class _Features:
    """The features of one dataset while they are made."""

    def __init__(self, work: Path, settings: FeatureSettings) -> None:
        self._work = work
        self._settings = settings
        self._quarantine: list[pl.DataFrame] = []
        self._read: Counter[str] = Counter()
        self._broken: dict[str, Counter[Rule]] = {RATINGS_CSV: Counter(), MOVIES_CSV: Counter()}
        self._splits: Counter[str] = Counter()
        self._half_stars = np.zeros(11, np.int64)
        self._users = 0
        self._rated: set[int] = set()
        self._timestamps: list[int] = []

    def generate(
        self,
        md5: str,
        archive: DatasetArchive,
        progress: Callable[[int, int | None], None] | None,
    ) -> Stats:
        movies = read_movies(archive.chunks(MOVIES_CSV))
        self._count(MOVIES_CSV, movies)
        self._check(MOVIES_CSV, movies.read)
        movies.rows.write_parquet(self._work / contract.MOVIES_FILE)

        folder = self._work / "waiting"
        folder.mkdir()
        waiting = WaitingRows(folder)
        size = archive.size(RATINGS_CSV)
        chunks = _Counted(archive.chunks(RATINGS_CSV))
        for batch in read_ratings(chunks, movies.rows["movieId"]):
            waiting.add(batch.rows)
            self._count(RATINGS_CSV, batch)
            # However short the rest of the rows: so many broken ones are already too many.
            self._check(RATINGS_CSV, max(self._read[RATINGS_CSV], size // _LEAST_ROW_BYTES))
            if progress:
                progress(chunks.done, size)
        self._check(RATINGS_CSV, self._read[RATINGS_CSV])
        if not waiting.rows:
            raise _no_rows(RATINGS_CSV)

        write_interactions(
            waiting,
            self._work / contract.INTERACTIONS_FILE,
            self._settings.holdout_share,
            on_rows=self._measure,
            on_duplicates=self._add_duplicates,
        )
        quarantine = pl.concat(self._quarantine).sort("file", "line")
        quarantine.write_parquet(self._work / contract.QUARANTINE_FILE)
        return self._stats(md5, movies.rows.height)

    def _count(self, file: str, batch: Batch) -> None:
        self._read[file] += batch.read
        self._quarantine.append(batch.quarantine)
        for rule, count in batch.quarantine["rule"].value_counts().iter_rows():
            self._broken[file][Rule(rule)] += count

    def _check(self, file: str, rows: int) -> None:
        if not rows:
            raise _no_rows(file)
        counted = FileStats(rows=rows, quarantine=self._broken[file])
        if counted.broken_share <= self._settings.max_quarantine_share:
            return
        examples = (
            pl.concat(self._quarantine)
            .filter((pl.col("file") == file) & (pl.col("rule") != Rule.DUPLICATE.value))
            .head(3)
            .iter_rows()
        )
        shown = ", ".join(f"line {line} {text[:40]!r} ({rule})" for rule, _, line, text in examples)
        by_rule = ", ".join(f"{rule} {n}" for rule, n in self._broken[file].most_common())
        raise DatasetError(
            f"too many rows of {file} are broken",
            found=f"{counted.broken} of {self._read[file]} rows read: {by_rule}",
            expected=f"at most {self._settings.max_quarantine_share:.1%}",
            hint=f"mend the dataset and publish it with a new md5; first broken rows: {shown}",
        )

    def _add_duplicates(self, lost: pl.DataFrame) -> None:
        self._broken[RATINGS_CSV][Rule.DUPLICATE] += lost.height
        # Their lines are gone by now; these are their values in the usual order of columns.
        values = pl.concat_str("userId", "movieId", "rating", "timestamp", separator=",")
        self._quarantine.append(
            lost.select(
                rule=pl.lit(Rule.DUPLICATE.value, QUARANTINE_SCHEMA["rule"]),
                file=pl.lit(RATINGS_CSV, QUARANTINE_SCHEMA["file"]),
                line="line",
                text=values,
            )
        )

    def _measure(self, rows: pl.DataFrame) -> None:
        self._splits.update(dict(rows["split"].value_counts().iter_rows()))
        half_stars = (rows["rating"] * 2).cast(pl.UInt8).to_numpy()
        self._half_stars += np.bincount(half_stars, minlength=11)
        self._users += rows["userId"].n_unique()
        self._rated.update(rows["movieId"].unique().to_list())
        self._timestamps += rows.select(
            pl.col("timestamp").min().alias("first"), pl.col("timestamp").max().alias("last")
        ).row(0)

    def _stats(self, md5: str, movies: int) -> Stats:
        rows = self._splits.total()
        return Stats(
            md5=md5,
            settings=self._settings,
            interactions=rows,
            train=self._splits["train"],
            holdout=self._splits["holdout"],
            users=self._users,
            movies=movies,
            rated_movies=len(self._rated),
            density=rows / (self._users * len(self._rated)),
            first_timestamp=min(self._timestamps),
            last_timestamp=max(self._timestamps),
            mean_rating=float(self._half_stars @ np.arange(11)) / 2 / rows,
            rating_histogram={f"{i / 2:.1f}": int(self._half_stars[i]) for i in range(1, 11)},
            files={
                file: FileStats(rows=self._read[file], quarantine=dict(sorted(broken.items())))
                for file, broken in self._broken.items()
            },
            sha256={name: file_sha256(self._work / name) for name in _FILES},
        )


class _Counted:
    """Chunks that count their bytes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.done = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.done += len(chunk)
            yield chunk


def _no_rows(file: str) -> DatasetError:
    return DatasetError(
        f"{file} holds no valid row",
        found="a header and nothing to use below it",
        expected="one row per movie, one per rating",
        hint="publish a whole dataset with its md5",
    )
