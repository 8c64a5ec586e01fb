"""Results of a benchmark: one row per stage, with a naive reference and the machine's limit."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from recsys.benchmark.machine import Limits
from recsys.benchmark.stage_process import Measured


class Stage(BaseModel):
    """Measurements of one stage of the data path.

    Attributes:
        stage: name of the stage.
        wall_s: wall seconds of the work, without starting Python and imports.
        cpu_s: CPU seconds, including those of the database server.
        peak_rss_mb: peak memory of the process (10^6 bytes), including imports.
        import_rss_mb: memory after imports.
        server_peak_mb: peak memory of the database server, if the stage uses it.
        rows_per_s: rows per second; what a row is depends on the stage.
        reference_wall_s: wall seconds of the naive reference; None if there is none or it cannot
            finish (see ``reference_note``).
        reference_peak_rss_mb: peak memory of the reference.
        reference_note: why there is no reference, or what it leaves out.
        ratio: wall seconds of the reference / wall seconds.
        floor_s: lower bound of the wall seconds by the machine's measured limits.
        times_floor: wall seconds / lower bound.
        facts: facts returned by the stage.
    """

    model_config = ConfigDict(frozen=True)

    stage: str
    wall_s: float
    cpu_s: float
    peak_rss_mb: float
    import_rss_mb: float | None = None
    server_peak_mb: float | None = None
    rows_per_s: float
    reference_wall_s: float | None = None
    reference_peak_rss_mb: float | None = None
    reference_note: str | None = None
    ratio: float | None = None
    floor_s: float | None = None
    times_floor: float | None = None
    facts: dict[str, Any] = Field(default_factory=dict)


class Measurements(BaseModel):
    """Measurements of a whole benchmark.

    Attributes:
        ratings: rows of ratings.csv.
        machine: description of the machine, with measured limits.
        total_wall_s: sum of wall seconds over the stages.
        peak_rss_mb: largest peak memory of any stage's process.
        sample_s: seconds to generate the dataset; None if it was not generated.
        stages: stages in order.
    """

    model_config = ConfigDict(frozen=True)

    ratings: int
    machine: dict[str, Any]
    total_wall_s: float
    peak_rss_mb: float
    sample_s: float | None
    stages: list[Stage]


def make_stage(
    name: str,
    measured: Measured,
    *,
    rows: int,
    wall_s: float | None = None,
    floor_s: float | None = None,
    reference: Measured | None = None,
    note: str | None = None,
) -> Stage:
    """Makes a row from measurements.

    Args:
        name: name of the stage.
        measured: measurements of its process.
        rows: number of rows that it processed.
        wall_s: wall seconds of the stage, if the process also did other work.
        floor_s: lower bound of the wall seconds.
        reference: measurements of the naive reference.
        note: why there is no reference, or what it leaves out.
    """
    wall = measured.wall_s if wall_s is None else wall_s
    return Stage(
        stage=name,
        wall_s=round(wall, 3),
        cpu_s=round(measured.cpu_s * (wall / measured.wall_s if measured.wall_s else 1), 3),
        peak_rss_mb=round(measured.peak_rss_mb, 1),
        import_rss_mb=round(measured.import_rss_mb, 1),
        server_peak_mb=round(measured.server_peak_mb, 1) if measured.server_peak_mb else None,
        rows_per_s=round(rows / wall, 1) if wall else 0.0,
        reference_wall_s=round(reference.wall_s, 3) if reference else None,
        reference_peak_rss_mb=round(reference.peak_rss_mb, 1) if reference else None,
        reference_note=note,
        ratio=round(reference.wall_s / wall, 2) if reference and wall else None,
        floor_s=round(floor_s, 6) if floor_s is not None else None,
        times_floor=round(wall / floor_s, 2) if floor_s else None,
        facts=measured.facts,
    )


def fetch_floor(limits: Limits, zip_bytes: int) -> float:
    """Lower bound of fetching: hash each byte once, then write it once."""
    return zip_bytes / 1e6 * (1 / limits.md5_mb_s + 1 / limits.write_mb_s)


def preprocess_floor(limits: Limits, csv_bytes: int, parquet_bytes: int) -> float:
    """Lower bound of preprocessing: inflate the text, copy it once, write the tables."""
    return (
        csv_bytes / 1e6 * (1 / limits.inflate_mb_s + 1 / limits.copy_mb_s)
        + parquet_bytes / 1e6 / limits.write_mb_s
    )


def vectors_floor(limits: Limits, interactions: int, dim: int) -> float:
    """Lower bound of the vectors: two products with the sparse matrix, which any SVD needs.

    Each interaction copies one row of ``dim`` floats.
    """
    return 2 * interactions * dim * 4 / 1e6 / limits.copy_mb_s


def load_floor(limits: Limits, rows: int, dim: int) -> float:
    """Lower bound of loading: write every vector once, two bytes per component."""
    return rows * dim * 2 / 1e6 / limits.write_mb_s


def distances_floor(limits: Limits, distances: int, workers: int = 1) -> float:
    """Lower bound of a number of distances between vectors in memory.

    For an index these are ``ef_construction`` for each vector, the least that insertion into HNSW
    computes; it also computes those of the neighbors of these candidates. For a check they are the
    distances of its exact scans.
    """
    return distances / 1e6 / limits.distances_m_s / workers
