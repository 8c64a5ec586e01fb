"""What a benchmark found: one row a stage, with the plain way and the machine's limit beside it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from recsys.benchmark.machine import Limits
from recsys.benchmark.stage_process import Measured


class Stage(BaseModel):
    """One stage of the data's way.

    Attributes:
        stage: its name.
        wall_s: seconds of the work, start of Python and imports left out.
        cpu_s: processor seconds, the database server's for this stage included.
        peak_rss_mb: most memory of its process (10^6 bytes), imports included.
        import_rss_mb: what the imports alone hold.
        server_peak_mb: most memory of the database server, where it does the work.
        rows_per_s: rows of the stage's own kind a second.
        reference_wall_s: the same work done the plain way; None: there is no such way, or it
            cannot finish (see ``reference_note``).
        reference_peak_rss_mb: its memory.
        reference_note: why there is no reference, or what it leaves out.
        ratio: how many times faster than the reference.
        floor_s: what the machine's measured limits allow at best.
        times_floor: wall over floor.
        facts: what the stage told of its work.
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
        machine: what it ran on, with measured limits.
        total_wall_s: sum over the stages.
        peak_rss_mb: most memory of any stage's process.
        sample_s: seconds to generate the dataset; None: it was given.
        stages: in order.
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
    """A row from what was measured.

    Args:
        name: of the stage.
        measured: its process.
        rows: how many it worked on.
        wall_s: its part of the process's time, if that did something else besides.
        floor_s: the machine's limit.
        reference: the process that did it the plain way.
        note: why there is none, or what it leaves out.
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
    """Hash every byte once, write it once, one after the other."""
    return zip_bytes / 1e6 * (1 / limits.md5_mb_s + 1 / limits.write_mb_s)


def preprocess_floor(limits: Limits, csv_bytes: int, parquet_bytes: int) -> float:
    """Inflate the text, move it through memory once, write the tables."""
    return (
        csv_bytes / 1e6 * (1 / limits.inflate_mb_s + 1 / limits.copy_mb_s)
        + parquet_bytes / 1e6 / limits.write_mb_s
    )


def vectors_floor(limits: Limits, interactions: int, dim: int) -> float:
    """Two products with the sparse matrix, the least of any projection and back.

    Each interaction moves one row of ``dim`` floats through memory.
    """
    return 2 * interactions * dim * 4 / 1e6 / limits.copy_mb_s


def load_floor(limits: Limits, rows: int, dim: int) -> float:
    """Write every vector once, two bytes a component."""
    return rows * dim * 2 / 1e6 / limits.write_mb_s


def index_floor(limits: Limits, rows: int, dim: int, candidates: int) -> float:
    """Compare each vector with as many as the index keeps in sight (``ef_construction``)."""
    return rows * candidates * 2 * dim / 1e9 / limits.gflop_s
