"""The weekly DAG with its features made by Spark, compared with the single-machine DAG."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from pydantic import SecretStr

from recsys import contract, monitoring, pipeline, releases
from recsys.contract import Build, BuildSettings
from recsys.database import PostgresSettings
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from recsys.services import Services
from recsys.vectors import MovieVectors, make_movie_vectors
from tests.actors import an_actor
from tests.conftest import fresh_bucket, fresh_database
from tests.e2e.conftest import BRIEF, DEFAULTS, connections
from tests.spark.conftest import spark_or_skip

# Java and Spark take long to start on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

FEATURES = (
    contract.INTERACTIONS_FILE,
    contract.MOVIES_FILE,
    contract.QUARANTINE_FILE,
    contract.STATS_FILE,
)
# Both engines make the same bytes, so the quality of the training does not matter here.
SETTINGS = {"trainer": {"overrides": BRIEF}}


class Made(NamedTuple):
    """What one engine made."""

    services: Services
    build: Build
    files: dict[str, bytes]
    vectors: MovieVectors


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that gets a line for each start of Spark."""
    return tmp_path_factory.mktemp("spark") / "submitted"


@pytest.fixture(scope="module")
def on_spark(
    airflow_db: None,
    repository: Path,
    postgres_server: Postgres,
    s3_server: S3,
    small_dataset: Path,
    submitted: Path,
) -> Iterator[Made]:
    """A run in a process of its own: which engine it is belongs to a DAG's shape."""
    spark = spark_or_skip(repository)
    submit = submitted.with_name("spark-submit")
    submit.write_text(f'#!/bin/sh\necho "$@" >>{submitted}\nexec {spark.program} "$@"\n')
    submit.chmod(0o755)
    with fresh_database(postgres_server) as dsn, fresh_bucket(s3_server) as s3:
        services = Services(postgres=PostgresSettings(dsn=SecretStr(dsn)), s3=s3)
        environment = {
            **connections(services),
            "RECSYS_BUILD_SETTINGS": json.dumps(SETTINGS),
            "RECSYS_FEATURES_ENGINE": "spark",
            "RECSYS_SPARK_SUBMIT": str(submit),
            "RECSYS_SPARK_MASTER": spark.master,
            "PYSPARK_PYTHON": str(spark.program.with_name("python")),
            "PATH": f"{spark.program.parent}{os.pathsep}{os.environ['PATH']}",
        }
        runs = [["movie_rec_sys", {"source": str(small_dataset), **DEFAULTS}, environment]]
        states = submitted.with_name("states")
        done = subprocess.run(
            [sys.executable, "-m", "tests.e2e.run_dags", json.dumps(runs), states],
            cwd=repository,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        assert json.loads(states.read_text()) == [["success", {}]]
        champion = monitoring.read_status(services)["champion"]
        assert champion is not None
        manifest, _ = releases.read_manifest(services.store, champion["release_id"])
        assert monitoring.problems(services) == []
        yield Made(services, manifest.build, files(services), served_vectors(services))


@pytest.fixture(scope="module")
def on_one_machine(
    on_spark: Made,
    postgres_server: Postgres,
    s3_server: S3,
    small_dataset: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Made]:
    """The same steps on other servers, called as the tasks of the other engine call them."""
    with fresh_database(postgres_server) as dsn, fresh_bucket(s3_server) as s3:
        services = Services(postgres=PostgresSettings(dsn=SecretStr(dsn)), s3=s3)
        run = pipeline.data_is_new(
            services,
            source=str(small_dataset),
            trainer_digest=on_spark.build.trainer_digest,
            settings=BuildSettings.model_validate(SETTINGS),
            run_id="run-1",
            force=False,
            actor=an_actor(),
        ).run
        pipeline.fetch_dataset(services, run)
        pipeline.generate_data_frames(services, run)
        work = tmp_path_factory.mktemp("work")
        vectors = make_movie_vectors(run.build.dataset_md5, services.store, run.features, work)
        yield Made(services, run.build, files(services), vectors)


def files(services: Services) -> dict[str, bytes]:
    """What the trainer and the vectors are made from, by name."""
    store = services.store
    return {
        key.rsplit("/", 1)[1]: store.get_bytes(key)
        for key in store.keys("features/")
        if key.endswith(FEATURES)
    }


def served_vectors(services: Services) -> MovieVectors:
    """What the site reads, in the order of the ids."""
    with services.connect() as connection:
        rows = connection.execute(
            "SELECT movieid, vector::text FROM movie_vectors ORDER BY movieid"
        ).fetchall()
    ids = np.array([movie for movie, _ in rows], np.int32)
    return MovieVectors(ids, np.array([json.loads(vector) for _, vector in rows], np.float32))


def test_a_run_starts_spark_for_features_and_for_vectors_and_promotes_the_release_of_any_engine(
    on_spark: Made, on_one_machine: Made, submitted: Path
) -> None:
    starts = [line.split(" --md5 ")[0].rsplit(" ", 1)[1] for line in submitted.open()]
    assert starts == ["frames", "vectors"]
    assert on_spark.build.release_id == on_one_machine.build.release_id


def test_what_the_trainer_is_given_is_the_same_bytes(on_spark: Made, on_one_machine: Made) -> None:
    assert sorted(on_spark.files) == sorted(FEATURES)
    assert on_spark.files == on_one_machine.files


def test_the_vectors_that_the_site_reads_are_the_same_within_the_tolerance(
    on_spark: Made, on_one_machine: Made, record_property: Callable[[str, object], None]
) -> None:
    spark, local = on_spark.vectors, on_one_machine.vectors
    assert len(spark.ids) > 100
    assert np.array_equal(spark.ids, local.ids)
    apart = float(np.abs(spark.vectors @ spark.vectors.T - local.vectors @ local.vectors.T).max())
    assert apart <= 1e-3
    record_property("figure", f"spark: cosines of the served vectors differ by at most {apart:.1e}")
