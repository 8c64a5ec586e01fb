"""Spark in its own environment, for tests that start it as a task does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.embedded.s3 import S3
from recsys.object_store import ObjectStore, S3Settings
from recsys.spark.submit import SparkSubmit
from tests.conftest import fresh_bucket

MIN_JAVA = 17


def _java() -> int:
    """Returns the major version of the Java that Spark would use; 0 if there is none."""
    home = os.environ.get("JAVA_HOME")
    program = str(Path(home, "bin", "java")) if home else shutil.which("java")
    if program is None:
        return 0
    done = subprocess.run([program, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)', done.stderr)
    return int(found[1]) if found else 0


def spark_or_skip(repository: Path) -> SparkSubmit:
    """Returns Spark on two cores of this machine; skips the test if it is not installed."""
    program = repository / "spark" / ".venv" / "bin" / "spark-submit"
    if not program.exists():
        pytest.skip("Spark is not installed: run `make spark`")
    if (java := _java()) < MIN_JAVA:
        pytest.skip(f"Spark needs Java {MIN_JAVA} or newer, found {java or 'none'}")
    return SparkSubmit(program, "local[2]")


@pytest.fixture(scope="session")
def spark(repository: Path) -> SparkSubmit:
    """Spark on two cores of this machine."""
    return spark_or_skip(repository)


@pytest.fixture(scope="module")
def module_s3(s3_server: S3) -> Iterator[S3Settings]:
    """Settings of a bucket of this test module."""
    with fresh_bucket(s3_server) as settings:
        yield settings


@pytest.fixture(scope="module")
def module_store(module_s3: S3Settings) -> ObjectStore:
    return ObjectStore.connect(module_s3)
