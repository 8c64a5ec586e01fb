"""Fixtures: a real S3 server, small structured interactions, and the trainer as a process."""

from __future__ import annotations

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

import numpy as np
import polars as pl
import pytest
from pydantic import SecretStr

from recsys import contract
from recsys.contract import Build, TrainerInput
from recsys.embedded.home import Home
from recsys.embedded.s3 import REGION, S3
from recsys.object_store import ObjectStore, S3Settings
from tests import watchdog

watchdog.start()

ROOT = Path(__file__).resolve().parents[2]
GENRES = ("Action", "Comedy", "Drama", "Horror")
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


def make_interactions(
    seed: int = 0, users: int = 120, movies: int = 150, each: int = 30
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Makes interactions of users who prefer one genre each, and movies.

    The last tenth of each user's interactions is the holdout. The last five movies are unrated.
    """
    rng = np.random.default_rng(seed)
    movie_ids = np.sort(rng.choice(np.arange(1, 100_000), movies, replace=False)).astype(np.int32)
    genre = rng.integers(0, len(GENRES), movies)
    quality = rng.normal(0, 0.4, movies)
    chance = 1 / np.arange(1, movies - 4)
    rows = []
    for user in range(users):
        favorite = user % len(GENRES)
        likes = np.where(genre == favorite, 1.0, -0.6)
        appeal = chance * np.where(genre[: movies - 5] == favorite, 6.0, 1.0)
        chosen = rng.choice(movies - 5, each, replace=False, p=appeal / appeal.sum())
        stars = 3.2 + likes[chosen] + quality[chosen] + rng.normal(0, 0.4, each)
        rows.append(
            pl.DataFrame(
                {
                    "userId": np.full(each, 7 + 3 * user, np.int32),
                    "movieId": movie_ids[chosen],
                    "rating": np.clip(np.rint(stars * 2) / 2, 0.5, 5).astype(np.float32),
                    "timestamp": 1_500_000_000 + np.sort(rng.integers(0, 10**7, each)),
                }
            )
        )
    table = pl.DataFrame(
        {
            "movieId": movie_ids,
            "title": [f'A "quoted", title {k}' for k in range(movies)],
            "year": [None if k % 10 == 0 else 1950 + k % 60 for k in range(movies)],
            "genres": [[] if k % 17 == 0 else [GENRES[g]] for k, g in enumerate(genre)],
        },
        schema_overrides={"year": pl.Int16, "genres": pl.List(pl.String)},
    )
    return with_split(pl.concat(rows), 0.1), table


def with_split(interactions: pl.DataFrame, share: float) -> pl.DataFrame:
    """Marks each user's last ``share`` as the holdout, as the features do."""
    place = pl.int_range(pl.len()).over("userId")
    held = place >= pl.len().over("userId") * (1 - share)
    split = pl.when(held).then(pl.lit("holdout")).otherwise(pl.lit("train"))
    return interactions.sort("userId", "timestamp", "movieId").with_columns(
        split=split.cast(pl.Categorical)
    )


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
def _one_thread() -> None:
    """Uses one thread: steps on small tables are too short for several."""
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")


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
            # Steps on small tables are too short for several threads.
            "TF_NUM_INTRAOP_THREADS": "1",
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
