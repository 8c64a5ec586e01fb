"""Describes this machine and measures the speeds that bound the pipeline."""

from __future__ import annotations

import hashlib
import os
import platform
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import psutil

from recsys import contract
from recsys.dataset import RAW_DEFLATE, inflated_size

_MB: Final = 1_000_000
_BLOCK: Final = 64 * _MB
_REPEATS: Final = 3
_VECTORS: Final = 100_000
_COMPARED: Final = 200_000


@dataclass(frozen=True)
class Limits:
    """Speeds of the machine, measured just before a benchmark under the present load.

    Attributes:
        md5_mb_s: hashing on one thread, megabytes (10^6 bytes) per second.
        inflate_mb_s: decompression of ratings text on one thread by the fastest library that is
            installed, output megabytes per second.
        copy_mb_s: memory copy on one thread.
        write_mb_s: writing a file and fsync.
        distances_m_s: millions of distances per second on one thread between a vector of 128
            dimensions and random rows of a table that is larger than the processor's cache.
    """

    md5_mb_s: float
    inflate_mb_s: float
    copy_mb_s: float
    write_mb_s: float
    distances_m_s: float


def measure_limits(folder: Path) -> Limits:
    """Measures the speeds; takes about two seconds.

    Args:
        folder: a folder on the disk to measure; a file of 64 MB is written there and removed.
    """
    rng = np.random.default_rng(1)
    block = rng.bytes(_BLOCK)
    source, target = np.frombuffer(block, np.uint8), np.empty(_BLOCK, np.uint8)
    text = _ratings_text(rng)
    packed = _deflated(text)
    vectors = rng.standard_normal((_VECTORS, contract.MOVIE_VECTOR_DIM), np.float32)
    chosen = rng.integers(0, _VECTORS, _COMPARED)
    query = vectors[0]
    path = folder / "speed"

    def write() -> None:
        with path.open("wb") as file:
            file.write(block)
            os.fsync(file.fileno())

    try:
        write_s = _best(write)
    finally:
        path.unlink(missing_ok=True)
    return Limits(
        md5_mb_s=_BLOCK / _MB / _best(lambda: hashlib.md5(block, usedforsecurity=False)),
        inflate_mb_s=len(text) / _MB / _best(lambda: inflated_size(packed)),
        copy_mb_s=_BLOCK / _MB / _best(lambda: np.copyto(target, source)),
        write_mb_s=_BLOCK / _MB / write_s,
        distances_m_s=_COMPARED / 1e6 / _best(lambda: np.einsum("ij,j->i", vectors[chosen], query)),
    )


def _deflated(text: bytes) -> bytes:
    deflater = zlib.compressobj(6, zlib.DEFLATED, RAW_DEFLATE)
    return deflater.compress(text) + deflater.flush()


def describe_machine(limits: Limits) -> dict[str, Any]:
    """Returns processor, cores, memory, software and measured speeds as JSON values."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "limits": {name: round(value, 1) for name, value in asdict(limits).items()},
    }


def _best(work: Callable[[], object]) -> float:
    """Returns the shortest time of several runs, because other load only adds to it."""
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def _ratings_text(rng: np.random.Generator) -> bytes:
    """Returns text like ratings.csv: the speed of inflating depends on the content."""
    rows = 250_000
    user = np.sort(rng.integers(1, 2_000, rows))
    movie = rng.integers(1, 90_000, rows)
    stars = rng.integers(1, 11, rows) / 2
    seconds = 1_500_000_000 + user * 10_000 + rng.integers(0, 5_000, rows)
    table = pl.DataFrame({"user": user, "movie": movie, "stars": stars, "seconds": seconds})
    return table.write_csv().encode()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")
