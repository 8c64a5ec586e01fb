"""`recsys.features.generate_data_frames` on Spark: writes the same files, byte for byte.

A zip entry can only be read from its start, so the driver inflates it once and puts blocks of
complete lines into the store. Executors parse each block with `recsys.features.csv_reader`. Valid
rows are shuffled into ranges of users, and `recsys.features.interactions.make_part` makes each
range's part of the interactions. The driver joins the parts into one file, which is what readers
of features expect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from recsys import contract
from recsys.contract import FeatureSettings, RatingScale
from recsys.dataset import MOVIES_CSV, RATINGS_CSV, DatasetArchive, open_dataset
from recsys.features import Stats, find_features
from recsys.features.csv_reader import RatingBlock, RatingParser, rating_blocks
from recsys.features.generate import (
    are_whole,
    download_dataset,
    make_stats,
    put_features,
    read_valid_movies,
)
from recsys.features.interactions import (
    RANGE_ROWS,
    cuts_of,
    make_part,
    sink_parts,
    user_ranges,
)
from recsys.features.profile import Profiler
from recsys.features.quarantine import Quarantine, Rejected
from recsys.features.split import Cuts, rows_by_day
from recsys.features.validation import Header
from recsys.object_store import ObjectStore
from recsys.spark.exchange import Exchange, add_counts, count_by, executor_store, pack, unpack

if TYPE_CHECKING:
    from pyspark import Broadcast, SparkContext


@dataclass(frozen=True)
class _StoredBlock:
    key: str
    header: Header
    first_line: int


@dataclass(frozen=True)
class _Parsed:
    """A parsed block; ``rows`` is packed."""

    rows: bytes
    rejected: Rejected
    read: int


@dataclass(frozen=True)
class _Part:
    """Statistics of a part of the interactions; ``replaced`` is packed."""

    profiler: Profiler
    splits: dict[str, int]
    replaced: bytes


def spark_data_frames(
    spark: SparkContext,
    md5: str,
    store: ObjectStore,
    settings: FeatureSettings,
    work_dir: Path,
    range_rows: int = RANGE_ROWS,
) -> Stats:
    """Makes interactions, movies and quarantine from a stored dataset; writes statistics last.

    Args:
        spark: the Spark context.
        md5: md5 of the dataset.
        store: holds ``datasets/<md5>/dataset.zip``; the features go to
            ``features/<md5>/<fingerprint of the settings>/``.
        settings: shares of the holdouts, and largest shares of invalid rows tolerated, by rule.
        work_dir: an existing folder on the driver, with space for about twice the zip.
        range_rows: interactions of one task, which has them in memory.

    Raises:
        DatasetError: see `recsys.features.generate_data_frames`.
        ArtifactError: the dataset is not in the store, or does not have its recorded sha256.
    """
    stats = find_features(md5, store, settings)
    if stats is not None and are_whole(stats, store):
        return stats
    with (
        TemporaryDirectory(prefix="features-", dir=work_dir) as folder,
        Exchange(settings.prefix(md5), store) as exchange,
    ):
        work = Path(folder)
        zip_path = work / contract.DATASET_FILE
        download_dataset(md5, store, zip_path)
        with open_dataset(zip_path, columns=settings.columns) as archive:
            job = _Job(spark, store, exchange, settings, range_rows)
            stats = job.make_features(archive, md5, work)
        put_features(store, stats, work)
    return stats


@dataclass(frozen=True)
class _Job:
    spark: SparkContext
    store: ObjectStore
    exchange: Exchange
    settings: FeatureSettings
    range_rows: int

    def make_features(self, archive: DatasetArchive, md5: str, folder: Path) -> Stats:
        from pyspark import StorageLevel

        rejected_folder = folder / "rejected"
        rejected_folder.mkdir()
        quarantine = Quarantine(rejected_folder, (MOVIES_CSV, RATINGS_CSV))
        movies = read_valid_movies(archive, self.settings, quarantine)
        movies.write_parquet(folder / contract.MOVIES_FILE)
        blocks = list(self._put_blocks(archive))
        if not blocks:
            raise quarantine.no_valid_rows(RATINGS_CSV, self.settings.scale)
        movie_ids = self.spark.broadcast(pack(movies.select("movieId")))
        # Results are on the executors' disks; only those of a lost executor are computed again.
        parsed = (
            self.spark.parallelize(blocks, len(blocks))
            .map(partial(_parse, movie_ids=movie_ids, scale=self.settings.scale))
            .persist(StorageLevel.DISK_ONLY)
        )
        users = unpack(parsed.map(_count_users).treeReduce(add_counts))
        for read, rejected in parsed.map(_rejected).toLocalIterator():
            quarantine.read(RATINGS_CSV, read)
            quarantine.add(rejected)
        quarantine.check(RATINGS_CSV, self.settings)
        if users.is_empty():
            raise quarantine.no_valid_rows(RATINGS_CSV, self.settings.scale)

        ranges = user_ranges(users.lazy(), self.range_rows)
        firsts = np.array([first for first, _ in ranges])
        keys = [self.exchange.key("parts", number) for number in range(len(ranges))]
        days = unpack(parsed.map(_count_days).treeReduce(add_counts))
        cuts = cuts_of(days, self.settings)
        parts = (
            parsed.flatMap(partial(_by_range, firsts=firsts))
            .partitionBy(len(ranges), int)
            .mapPartitionsWithIndex(
                partial(_make_part, keys=keys, cuts=cuts, scale=self.settings.scale)
            )
            .persist(StorageLevel.DISK_ONLY)
        )
        # Computes all parts in parallel; the loop below then fetches their results one by one.
        parts.count()
        profiler = Profiler(self.settings.scale)
        splits: Counter[str] = Counter()
        for part in parts.toLocalIterator():
            profiler.merge(part.profiler)
            splits.update(part.splits)
            replaced = unpack(part.replaced)
            if replaced.height:
                quarantine.add_duplicates(RATINGS_CSV, replaced)
        quarantine.check(RATINGS_CSV, self.settings)
        quarantine.write(folder / contract.QUARANTINE_FILE)
        sink_parts(
            lambda: (unpack(self.store.get_bytes(key)) for key in keys),
            folder / contract.INTERACTIONS_FILE,
            self.settings.id_bits,
        )
        for persisted in (parsed, parts):
            persisted.unpersist()
        return make_stats(md5, self.settings, folder, movies, profiler, splits, quarantine, cuts)

    def _put_blocks(self, archive: DatasetArchive) -> Iterator[_StoredBlock]:
        blocks = rating_blocks(archive.chunks(RATINGS_CSV), archive.columns.of_ratings)
        for number, block in enumerate(blocks):
            key = self.exchange.key("blocks", number)
            self.store.put_bytes(key, block.lines)
            yield _StoredBlock(key, block.header, block.first_line)


def _parse(block: _StoredBlock, movie_ids: Broadcast[bytes], scale: RatingScale) -> _Parsed:
    parser = RatingParser(unpack(movie_ids.value)["movieId"], scale=scale)
    lines = executor_store().get_bytes(block.key)
    batch = parser.parse(RatingBlock(block.header, block.first_line, lines))
    return _Parsed(pack(batch.rows), batch.rejected, batch.read)


def _count_users(parsed: _Parsed) -> bytes:
    return count_by(unpack(parsed.rows), "userId")


def _count_days(parsed: _Parsed) -> bytes:
    return pack(rows_by_day(unpack(parsed.rows).lazy()).collect())


def _rejected(parsed: _Parsed) -> tuple[int, Rejected]:
    return parsed.read, parsed.rejected


def _by_range(
    parsed: _Parsed, firsts: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> Iterator[tuple[int, bytes]]:
    """Yields rows by the number of their user's range."""
    rows = unpack(parsed.rows)
    number = np.searchsorted(firsts, rows["userId"].to_numpy(), side="right") - 1
    for (range_number,), range_rows in (
        rows.with_columns(range=number)
        .partition_by("range", as_dict=True, include_key=False)
        .items()
    ):
        yield int(range_number), pack(range_rows)


def _make_part(
    number: int,
    packed: Iterable[tuple[int, bytes]],
    keys: list[str],
    cuts: Cuts,
    scale: RatingScale,
) -> Iterator[_Part]:
    table, replaced = make_part(pl.concat([unpack(rows) for _, rows in packed]), cuts)
    executor_store().put_bytes(keys[number], pack(table))
    profiler = Profiler(scale)
    profiler.add(table)
    splits = dict(table["split"].value_counts().iter_rows())
    yield _Part(profiler, splits, pack(replaced))
