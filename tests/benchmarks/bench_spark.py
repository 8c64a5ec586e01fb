"""Compares features on one machine with features on Spark: time, CPU and memory.

Each run is a separate process tree that reads and writes a real S3 server::

    python -m tests.benchmarks.bench_spark out.json dataset.zip [more.zip ...]

Without a dataset, one of 100,000 ratings is generated. ``docs/spark.md`` shows results. On a shared
machine, CPU seconds are more reliable than wall seconds; the load average is printed too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from recsys import contract
from recsys.contract import FeatureSettings
from recsys.dataset import fetch_dataset, read_source_md5, write_sample
from recsys.embedded import stack
from recsys.embedded.home import Home
from recsys.embedded.s3 import S3
from recsys.features import generate_data_frames
from recsys.object_store import ObjectStore, S3Settings
from recsys.spark.submit import SparkSubmit
from recsys.vectors import make_movie_vectors
from tests.conftest import fresh_bucket

CORES: Final = 2
ROOT: Final = Path(__file__).resolve().parents[2]


def run_one(engine: str, what: str, md5: str) -> None:
    """Computes one half of the features with one engine, in this process or its children."""
    s3 = S3Settings.from_environment()
    settings = FeatureSettings()
    if engine == "spark":
        spark = SparkSubmit(ROOT / "spark/.venv/bin/spark-submit", f"local[{CORES}]")
        spark.run("frames" if what == "frames" else "vectors", md5, settings, s3, print)
        return
    store = ObjectStore.connect(s3)
    with tempfile.TemporaryDirectory() as work:
        if what == "frames":
            generate_data_frames(md5, store, settings, Path(work))
        else:
            make_movie_vectors(md5, store, settings, Path(work))


def measure(engine: str, what: str, md5: str, s3: S3Settings) -> dict[str, float]:
    """Measures wall and CPU seconds, load average, and peak unshared memory of a process tree."""
    variables = {
        "RECSYS_S3_BUCKET": s3.bucket,
        "RECSYS_S3_ENDPOINT": s3.endpoint or "",
        "RECSYS_S3_REGION": s3.region,
        **s3.credentials(),
    }
    began = time.perf_counter()
    command = [sys.executable, "-m", "tests.benchmarks.bench_spark", "--one", engine, what, md5]
    process = subprocess.Popen(command, env=os.environ | variables, stdout=subprocess.DEVNULL)
    watched = Watched()
    threading.Thread(target=watched.watch, args=(process.pid,), daemon=True).start()
    if process.wait():
        sys.exit(f"{engine} {what} failed")
    return {
        "s": round(time.perf_counter() - began, 1),
        "cpu_s": round(sum(watched.cpu.values()), 1),
        "mb": round(watched.peak / 1e6),
        "load": round(os.getloadavg()[0], 1),
    }


@dataclass
class Watched:
    """Resources of a process tree, sampled often enough to miss little of any process.

    Attributes:
        peak: peak unshared memory (USS), in bytes.
        cpu: user and system seconds by process.
    """

    peak: float = 0
    cpu: dict[int, float] = field(default_factory=dict)

    def watch(self, pid: int) -> None:
        """Samples the tree until its root ends."""
        try:
            root = psutil.Process(pid)
            while root.is_running():
                total = 0
                for process in [root, *root.children(recursive=True)]:
                    try:
                        times = process.cpu_times()
                        self.cpu[process.pid] = times.user + times.system
                        total += process.memory_full_info().uss
                    except psutil.Error:
                        continue
                self.peak = max(self.peak, total)
                time.sleep(0.2)
        except psutil.Error:
            return


def bench(path: Path, s3: S3Settings) -> dict[str, dict[str, float]]:
    """Measures both engines on one dataset."""
    store = ObjectStore.connect(s3)
    md5 = read_source_md5(str(path))
    fetch_dataset(str(path), md5, store)
    found = {}
    for engine in ("local", "spark"):
        store.delete(store.keys(contract.dataset_features_prefix(md5)))
        for what in ("frames", "vectors"):
            found[f"{engine} {what}"] = measure(engine, what, md5, s3)
            print(f"| {path.name} | {engine} | {what} | {found[f'{engine} {what}']} |", flush=True)
    return found


def main(out: Path, datasets: list[Path]) -> None:
    """Prints a table and writes the results as JSON."""
    if not (ROOT / "spark/.venv/bin/spark-submit").exists():
        print("notice: Spark is not installed (`make spark`); nothing is measured")
        return
    with tempfile.TemporaryDirectory(prefix="recsys-bench-") as folder:
        home = Home(Path(folder) / "home")
        if not datasets:
            datasets = [Path(folder) / "sample.zip"]
            write_sample(datasets[0], ratings=100_000)
        server = S3(home)
        try:
            with home.lock():
                server.start()
            with fresh_bucket(server) as s3:
                measured = {path.name: bench(path, s3) for path in datasets}
        finally:
            stack.stop(home)
    out.write_text(json.dumps(measured, indent=2))


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        run_one(*sys.argv[2:])
    else:
        main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
