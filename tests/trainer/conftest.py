"""Fixtures: a real S3 server, small structured interactions, and the trainer as a process."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

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
from recsys.contract import Build, ExitCode, FeatureSettings, Manifest, TrainerInput  # noqa: E402
from recsys.embedded.home import Home  # noqa: E402
from recsys.embedded.s3 import REGION, S3  # noqa: E402
from recsys.object_store import ObjectStore, S3Settings  # noqa: E402
from tests.real_dataset import real_dataset  # noqa: E402
from tests.trainer.processes import ForkedPython  # noqa: E402
from tests.trainer.tables import make_interactions, with_split  # noqa: E402
from trainer.__main__ import main  # noqa: E402
from trainer.config import training_config  # noqa: E402

if TYPE_CHECKING:
    from trainer.architecture import Fit
    from trainer.training import Evaluated

__all__ = ["make_interactions", "with_split"]

Tables: TypeAlias = tuple[pl.DataFrame, pl.DataFrame]
"""Interactions and movies."""

ROOT = Path(__file__).resolve().parents[2]
REVISION = "abc1234"
NO_RELEASE = "00000000-00000000"
"""Id of a release that does not exist."""
QUICK: dict[str, Any] = {
    "rating": {"members": 2, "epochs": 12, "patience": 12},
    "ranking": {"epochs": 3, "batch_size": 128},
}
"""Overrides with which a training on the small interactions takes a few seconds, most of them for
tracing."""


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
    return read_movielens(real_dataset(ROOT))


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
            self.store.put_file(contract.features_key(FeatureSettings().prefix(md5), name), path)

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

    def candidate(self, trainer_input: TrainerInput) -> Manifest | None:
        """The manifest in the inbox of a run; None if there is none."""
        data = self.store.find_bytes(trainer_input.inbox_key(contract.MANIFEST_FILE))
        return None if data is None else Manifest.from_json(data)

    def admit(self, trainer_input: TrainerInput) -> Manifest:
        """Copies a candidate from its inbox to its release, as the pipeline does."""
        manifest = self.candidate(trainer_input)
        assert manifest is not None, "there is no candidate"
        for artifact in manifest.artifacts:
            self.store.copy(trainer_input.inbox_key(artifact.name), artifact.key, {})
        key = contract.release_key(trainer_input.release_id, contract.MANIFEST_FILE)
        self.store.put_bytes(key, manifest.to_json())
        return manifest

    def log(self, trainer_input: TrainerInput) -> str:
        """The log in the inbox of a run."""
        return self.store.get_bytes(trainer_input.inbox_key(contract.TRAINER_LOG_FILE)).decode()

    def environment(self, trainer_input: TrainerInput) -> dict[str, str]:
        # The account prefers another Keras, which must not matter.
        home = self.xcom.parent / "home"
        (home / ".keras").mkdir(parents=True, exist_ok=True)
        keras = {"backend": "jax", "floatx": "float16", "image_data_format": "channels_first"}
        (home / ".keras" / "keras.json").write_text(json.dumps(keras))
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "KERAS_BACKEND": "torch",
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

    def fork(self, trainer_input: TrainerInput, *command: str) -> ForkedPython:
        """Starts ``python COMMAND`` with TensorFlow imported; the caller must `end` it."""
        folder = self.xcom.parent
        output = folder / f"{uuid.uuid4().hex}.log"
        return ForkedPython(command, self.environment(trainer_input), folder, output)

    def run(self, trainer_input: TrainerInput, *arguments: str) -> tuple[int, str]:
        """Runs the trainer; returns its exit code and stdout."""
        with self.start(trainer_input, *arguments) as process:
            out, _ = process.communicate(timeout=300)
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


@pytest.fixture(scope="session")
def trained(bench: Bench, small: Tables, tmp_path_factory: pytest.TempPathFactory) -> TrainerInput:
    """Input of a successful training, whose champion does not exist; its release is admitted."""
    bench.put_features(*small, md5="a" * 32)
    xcom = tmp_path_factory.mktemp("xcom")
    trainer_input = bench.input(champion=NO_RELEASE, xcom_dir=str(xcom))
    environment = bench.environment(trainer_input) | {"RECSYS_CODE_REVISION": REVISION}
    # In this process, to save time; `verify` is tested in a new one.
    assert main([], environment) == ExitCode.OK
    bench.admit(trainer_input)
    return trainer_input


@pytest.fixture(scope="session")
def evaluated(small: Tables) -> Evaluated:
    """The fit and evaluation of `trained`, with the same seed, without S3."""
    from trainer.training import fit_and_evaluate

    return fit_and_evaluate(*small, training_config(QUICK), seed=3)


@pytest.fixture(scope="session")
def served(small: Tables, evaluated: Evaluated) -> Fit:
    """The models fitted to all interactions."""
    from trainer.training import fit_served

    return fit_served(*small, training_config(QUICK), 3, evaluated.fit)


@pytest.fixture
def same_towers(monkeypatch: pytest.MonkeyPatch, evaluated: Evaluated) -> None:
    """Does not fit towers, to save time: for tests of settings of the rating model."""
    from trainer.ranking.fit import RankingFit

    assert evaluated.fit.warm_start
    fit = RankingFit(evaluated.fit.towers, evaluated.fit.warm_start.variables)
    monkeypatch.setattr("trainer.default_architecture.fit_ranking_model", lambda *_: fit)


@pytest.fixture
def evaluated_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Releases the evaluated models, to save time: for tests of what the served ones do not change.

    `trained` serves models of its own.
    """

    def keep(*arguments: Any, **named: Any) -> Fit:
        fit: Fit = arguments[4]
        return fit

    monkeypatch.setattr("trainer.release.fit_served", keep)
