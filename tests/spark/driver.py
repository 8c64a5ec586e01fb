"""A Spark driver with many small blocks and ranges, so that a small dataset is shuffled too."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from pyspark import SparkConf, SparkContext

from recsys.contract import FeatureSettings
from recsys.features import csv_blocks, csv_reader
from recsys.object_store import ObjectStore, S3Settings
from recsys.spark import frames

md5, settings, block_bytes, range_rows = sys.argv[1:]
csv_blocks.BLOCK_BYTES = piece = int(block_bytes)
blocks = 0


def small_blocks(
    chunks: Iterable[bytes], given: Mapping[str, str]
) -> Iterator[csv_reader.RatingBlock]:
    """Splits chunks first, because those of the archive are as large as the dataset."""
    global blocks
    pieces = (chunk[at : at + piece] for chunk in chunks for at in range(0, len(chunk), piece))
    for block in csv_reader.rating_blocks(pieces, given):
        blocks += 1
        yield block


frames.rating_blocks = small_blocks
context = SparkContext(conf=SparkConf().setExecutorEnv("POLARS_MAX_THREADS", "1"))
with TemporaryDirectory() as work:
    frames.spark_data_frames(
        context,
        md5,
        ObjectStore.connect(S3Settings.from_environment()),
        FeatureSettings.model_validate_json(settings),
        Path(work),
        int(range_rows),
    )
print(blocks)
