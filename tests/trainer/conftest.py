"""Fixtures: a real S3 server, small structured interactions, and the trainer as a process."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Steps on small tables are too short for several threads, which would wait in loops. The libraries
# read this when they are imported.
THREADS = {
    name: "1" for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
}
os.environ.update(THREADS)

from tests import watchdog  # noqa: E402

# Before multiprocessing registers the removal of its temporary folder, which is in watchdog's.
watchdog.start()

import polars as pl  # noqa: E402
import pytest  # noqa: E402
from pydantic import SecretStr  # noqa: E402

from recsys import contract  # noqa: E402
from recsys.contract import Build, TrainerInput  # noqa: E402
from recsys.embedded.home import Home  # noqa: E402
from recsys.embedded.s3 import REGION, S3  # noqa: E402
from recsys.object_store import ObjectStore, S3Settings  # noqa: E402
from tests.trainer.processes import ForkedPython  # noqa: E402
from tests.trainer.tables import make_interactions, with_split  # noqa: E402

__all__ = ["make_interactions", "with_split"]

ROOT = Path(__file__).resolve().parents[2]
QUICK: dict[str, Any] = {
    "rating": {"members": 2, "epochs": 12, "patience": 12},
    "ranking": {"epochs": 3, "batch_size": 128},
}
"""Overrides with which a training on the small interactions takes about a second."""

EVALUATED = {
    contract.EVALUATED_MODEL_FILE,
    contract.EVALUATED_USER_TOWERS_FILE,
    contract.EVALUATED_MOVIE_TOWERS_FILE,
}


def read_movielens(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Reads interactions (unsplit) and movies of a MovieLens zip, in the contract's columns."""
    with zipfile.ZipFile(path) as archive:
        names = {Path(name).name: name for name in archive.namelist()}
        ratings = pl.read_csv(archive.read(names["ratings.csv"]))
        movies = pl.read_csv(archive.read(names["movies.csv"]))
    interactions = ratings.cast(
        {"userId": pl.Int32, "movieId": pl.Int32, "rating": pl.Float32}
    ).sort("userId", "timestamp", "movieId")
    return interactions, movies.select(
        pl.col("movieId").cast(pl.Int32),
        "title",
        year=pl.col("title").str.extract(r"\((\d{4})\)\s*$").cast(pl.Int16),
        genres=pl.col("genres").str.split("|"),
    )


@pytest.fixture(scope="session", autouse=True)
def _skip_modules_in_garbage_collections() -> None:
    """The trainer collects garbage after each fit: it need not look at TensorFlow's modules."""
    import trainer.default_architecture  # noqa: F401

    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def small() -> tuple[pl.DataFrame, pl.DataFrame]:
    return make_interactions()


@pytest.fixture(scope="session")
def ml_latest_small() -> tuple[pl.DataFrame, pl.DataFrame]:
    path = ROOT.parent / "shared" / "data" / "ml-latest-small.zip"
    if not path.exists():
        pytest.skip("the real dataset is missing: ../shared/data/ml-latest-small.zip")
    return read_movielens(path)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    with tempfile.TemporaryDirectory(prefix="recsys-tests-") as folder:
        server = S3(Home(Path(folder)))
        with server.home.lock():
            server.start()
        yield server
        with server.home.lock():
            server.stop()


@dataclass
class Bench:
    """A bucket for features and releases, and the trainer as a process."""

    store: ObjectStore
    credentials: dict[str, str]
    endpoint: str
    xcom: Path

    def put_features(self, interactions: pl.DataFrame, movies: pl.DataFrame, md5: str) -> None:
        for name, frame in (
            (contract.INTERACTIONS_FILE, interactions),
            (contract.MOVIES_FILE, movies),
        ):
            path = self.xcom.parent / name
            frame.write_parquet(path)
            self.store.put_file(contract.features_key(md5, name), path)

    def input(self, overrides: Any = QUICK, md5: str = "a" * 32, **changed: Any) -> TrainerInput:
        build = Build(
            dataset_md5=md5,
            trainer_digest="sha256:" + "b" * 64,
            settings={"features": {}, "trainer": {"seed": 3, "overrides": overrides}},
        )
        values = {
            "build": build,
            "run_nonce": "nonce-of-the-tests",
            "s3_bucket": self.store.bucket,
            "s3_endpoint": self.endpoint,
            "xcom_dir": str(self.xcom),
        }
        return TrainerInput(**(values | changed))

    def environment(self, trainer_input: TrainerInput) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            **THREADS,
            **self.credentials,
            **trainer_input.to_environment(),
        }

    def start(self, trainer_input: TrainerInput, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "trainer", *arguments],
            env=self.environment(trainer_input),
            cwd=self.xcom.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def fork(self, trainer_input: TrainerInput, *command: str, **more: str) -> ForkedPython:
        """Starts ``python COMMAND`` with TensorFlow imported; the caller must `ForkedPython.end`.

        Args:
            trainer_input: its environment.
            command: by default the training.
            more: further variables of the environment.
        """
        folder = self.xcom.parent
        return ForkedPython(
            command or ("-m", "trainer"),
            self.environment(trainer_input) | more,
            folder,
            folder / f"{uuid.uuid4().hex}.log",
        )

    def run(self, trainer_input: TrainerInput, *arguments: str) -> tuple[int, str]:
        """Runs the trainer; returns its exit code and stdout."""
        with self.start(trainer_input, *arguments) as process:
            out, _ = process.communicate(timeout=120)
        return process.returncode, out


@pytest.fixture(scope="session")
def bench(s3_server: S3, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A new bucket for the session; each test must use release ids of its own."""
    bucket = f"test-{uuid.uuid4().hex}"
    s3_server.client().create_bucket(Bucket=bucket)
    secrets = s3_server.home.secrets()
    store = ObjectStore.connect(
        S3Settings(
            bucket=bucket,
            endpoint=s3_server.address(),
            region=REGION,
            access_key=SecretStr(secrets.s3_access_key),
            secret_key=SecretStr(secrets.s3_secret_key),
        )
    )
    xcom = tmp_path_factory.mktemp("trainer") / "xcom"
    xcom.mkdir()
    return Bench(store, s3_server.credentials(), s3_server.address(), xcom)
