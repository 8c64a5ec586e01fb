"""Runs the stages of a benchmark in sequence, each in its own process, on its own servers."""

from __future__ import annotations

import functools
import http.server
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import psutil

from recsys import contract, dataset
from recsys.benchmark import measurements
from recsys.benchmark.machine import Limits, describe_machine, measure_limits
from recsys.benchmark.measurements import Measurements, Stage, make_stage
from recsys.benchmark.stage_process import Measured, run_stage
from recsys.contract import FeatureSettings
from recsys.dataset import RATINGS_CSV, open_dataset
from recsys.embedded import stack
from recsys.embedded.home import Home
from recsys.embedded.postgres import Postgres
from recsys.object_store import ObjectStore, S3Settings
from recsys.vectors import CHECKED_QUERIES, EF_CONSTRUCTION

_STAGE_MODULES: Final = "recsys.benchmark.stages"
_STAGES: Final = {
    "fetch": "fetch",
    "preprocess": "preprocess",
    "vectors": "vectors",
    "load": "database",
    "check": "database",
}
_REFERENCE: Final = "recsys.benchmark.reference"
# pandas needs about three copies of the dense matrix: pivoted, with zeros, and as text.
_BYTES_PER_CELL: Final = 3 * 8
MAX_REFERENCE_CELLS: Final = 200_000_000
_RELEASE: Final = "00000000-00000001"

OnStep = Callable[[str], None]


def run_benchmark(
    *,
    ratings: int,
    source: Path | None = None,
    with_reference: bool = True,
    on_step: OnStep = lambda text: None,
) -> Measurements:
    """Measures the data path without training, from the zip to the checked index.

    Starts its own PostgreSQL and S3 servers in a temporary folder and stops them afterwards.

    Args:
        ratings: number of ratings of the dataset to generate.
        source: path of a zip to use instead.
        with_reference: whether to measure the naive reference too, where it can finish.
        on_step: called with a description of each step when it starts.

    Raises:
        BenchmarkError: a stage failed.
        RecsysError: the dataset cannot be read, or a server does not start.
    """
    with TemporaryDirectory(prefix="recsys-bench-") as folder:
        work = Path(folder)
        on_step("measuring the machine")
        limits = measure_limits(work)
        machine = describe_machine(limits)
        sample_s = None
        if source is None:
            on_step(f"generating {ratings:,} ratings")
            started = time.perf_counter()
            source = dataset.write_sample(work / "sample.zip", ratings=ratings).path
            sample_s = round(time.perf_counter() - started, 2)
        md5 = dataset.read_source_md5(str(source))
        home = Home(work / "home")
        with stack.data_services(home):
            bench = _Benchmark(work, home, source, md5, limits, with_reference, on_step)
            stages = list(bench.stages())
    return Measurements(
        ratings=bench.ratings,
        machine=machine,
        total_wall_s=round(sum(stage.wall_s for stage in stages), 2),
        peak_rss_mb=max(stage.peak_rss_mb for stage in stages),
        sample_s=sample_s,
        stages=stages,
    )


@dataclass
class _Benchmark:
    work: Path
    home: Home
    source: Path
    md5: str
    limits: Limits
    with_reference: bool
    on_step: OnStep
    ratings: int = 0

    def stages(self) -> Iterator[Stage]:
        yield self._fetch()
        preprocess = self._preprocess()
        yield preprocess
        vectors = self._vectors(preprocess.facts["interactions"])
        yield vectors
        yield from self._load(vectors.facts["movies"], vectors.facts["dim"])
        yield self._check(vectors.facts["movies"])

    def _fetch(self) -> Stage:
        size = self.source.stat().st_size
        with _serve(self.source) as url:
            measured = self._run("fetch", source=url, md5=self.md5, s3=self._s3)
            reference = self._reference(
                "fetch_whole", source=url, s3=self._s3, work=self._reference_folder
            )
        floor = measurements.fetch_floor(self.limits, size)
        return make_stage("fetch", measured, rows=size, floor_s=floor, reference=reference)

    def _preprocess(self) -> Stage:
        measured = self._run("preprocess", md5=self.md5, s3=self._s3, work=str(self.work))
        facts = measured.facts
        self.ratings = facts["interactions"] + facts["quarantine"]
        with open_dataset(self.source) as archive:
            csv_bytes = archive.size(RATINGS_CSV)
        floor = measurements.preprocess_floor(self.limits, csv_bytes, self._stored_features())
        cells = facts["users"] * facts["rated_movies"]
        reference, note = None, "without validation and split"
        if self._pivot_fits(cells):
            reference = self._reference(
                "dense_pivot", zip_path=str(self.source), work=self._reference_folder
            )
        else:
            note = (
                f"the dense matrix of {cells:,} cells would take about "
                f"{cells * _BYTES_PER_CELL / 1e9:,.0f} GB"
            )
        return make_stage(
            "preprocess",
            measured,
            rows=facts["csv_rows"],
            floor_s=floor,
            reference=reference,
            note=note if self.with_reference else None,
        )

    def _vectors(self, interactions: int) -> Stage:
        measured = self._run("vectors", md5=self.md5, s3=self._s3, work=str(self.work))
        floor = measurements.vectors_floor(self.limits, interactions, measured.facts["dim"])
        note = "its vectors are the rows of the dense matrix, with one dimension for each user"
        return make_stage("vectors", measured, rows=interactions, floor_s=floor, note=note)

    def _load(self, rows: int, dim: int) -> Iterator[Stage]:
        measured = self._run(
            "load", server=True, dsn=self._dsn, release_id=_RELEASE, work=str(self.work)
        )
        index_s = measured.facts["index_s"]
        reference = self._reference("insert_rows", dsn=self._dsn, work=str(self.work))
        yield make_stage(
            "load",
            measured,
            rows=rows,
            wall_s=measured.wall_s - index_s,
            floor_s=measurements.load_floor(self.limits, rows, dim),
            reference=reference,
        )
        yield make_stage(
            "index",
            measured,
            rows=rows,
            wall_s=index_s,
            floor_s=measurements.distances_floor(
                self.limits, rows * EF_CONSTRUCTION, len(os.sched_getaffinity(0))
            ),
            note="vectors of more than 2,000 dimensions cannot be indexed",
        )

    def _check(self, rows: int) -> Stage:
        measured = self._run("check", server=True, dsn=self._dsn, release_id=_RELEASE, rows=rows)
        floor = measurements.distances_floor(self.limits, rows * CHECKED_QUERIES)
        return make_stage("check", measured, rows=rows, floor_s=floor)

    def _run(self, name: str, *, server: bool = False, **arguments: Any) -> Measured:
        self.on_step(name)
        pid = Postgres(self.home).status().pid if server else None
        module = f"{_STAGE_MODULES}.{_STAGES[name]}"
        return run_stage(name, arguments, server=pid, module=module)

    def _reference(self, name: str, **arguments: Any) -> Measured | None:
        if not self.with_reference:
            return None
        self.on_step(f"{name} (reference)")
        return run_stage(name, arguments, module=_REFERENCE)

    def _pivot_fits(self, cells: int) -> bool:
        free = psutil.virtual_memory().available
        return cells <= MAX_REFERENCE_CELLS and cells * _BYTES_PER_CELL < free / 2

    def _stored_features(self) -> int:
        store = ObjectStore.connect(S3Settings.model_validate(self._s3))
        prefix = FeatureSettings().prefix(self.md5)
        heads = [
            store.head(contract.features_key(prefix, name))
            for name in (contract.INTERACTIONS_FILE, contract.MOVIES_FILE)
        ]
        return sum(head.size for head in heads if head)

    @property
    def _reference_folder(self) -> str:
        folder = self.work / "reference"
        folder.mkdir(exist_ok=True)
        return str(folder)

    @property
    def _dsn(self) -> str:
        return stack.environment(self.home)["RECSYS_PG_DSN"]

    @property
    def _s3(self) -> dict[str, str]:
        variables = stack.environment(self.home)
        return {
            "bucket": variables["RECSYS_S3_BUCKET"],
            "endpoint": variables["RECSYS_S3_ENDPOINT"],
            "region": variables["RECSYS_S3_REGION"],
            "access_key": variables["AWS_ACCESS_KEY_ID"],
            "secret_key": variables["AWS_SECRET_ACCESS_KEY"],
        }


@contextmanager
def _serve(path: Path) -> Iterator[str]:
    """Serves a file over HTTP on loopback; yields its URL."""
    handler = functools.partial(_Quiet, directory=str(path.parent))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/{path.name}"
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Logs nothing."""
