"""Builds the images and runs them with the restrictions of production."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys import contract
from recsys.contract import FeatureSettings
from recsys.dataset import fetch_dataset, read_source_md5, write_sample
from recsys.features import generate_data_frames, read_stats
from recsys.object_store import ObjectStore, S3Settings
from recsys.spark.application import S3_ENV

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

_NEEDED = ("buildah", "podman", "debootstrap")


@pytest.fixture(scope="module")
def images() -> Iterator[Path]:
    """A folder for the engine's storage; RECSYS_IMAGES_HOME keeps it for the next time."""
    missing = [tool for tool in _NEEDED if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; no image is built")
    if not os.environ.get("RECSYS_BUILD_IMAGES"):
        pytest.skip("building the images takes 10 minutes: set RECSYS_BUILD_IMAGES=1")
    kept = os.environ.get("RECSYS_IMAGES_HOME")
    home = Path(kept or tempfile.mkdtemp(prefix="recsys-images-"))
    yield home
    # Buildah leaves a stage mounted that another one only copies from.
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in reversed([m for m in mounts if Path(m).is_relative_to(home.resolve())]):
        subprocess.run(["umount", mount], check=True)
    if not kept:
        shutil.rmtree(home)


def build(repository: Path, image: str, images: Path) -> dict[str, str]:
    """Builds an image; returns the settings with which podman finds it."""
    built = subprocess.run(
        ["bash", "tests/images/build.sh", image, images],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    return dict(re.findall(r"(CONTAINERS_\w+)=(\S+)", built.stdout))


def test_the_trainers_image_is_built_and_keeps_the_contract(repository: Path, images: Path) -> None:
    python = repository / "trainer/.venv/bin/python"
    settings = build(repository, "trainer", images)
    held = subprocess.run(
        [python, "-m", "pytest", "-q", "--rootdir", "trainer", "tests/contract"],
        cwd=repository,
        env={**os.environ, **settings, "IMAGE": "localhost/recsys-trainer:tried"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert held.returncode == 0, held.stdout[-5000:]


def test_the_image_of_spark_is_built_and_computes_features(
    repository: Path,
    images: Path,
    s3_settings: S3Settings,
    object_store: ObjectStore,
    tmp_path: Path,
) -> None:
    """Runs with a read-only root, no capabilities and the user of the SparkApplication."""
    if not (repository / "spark/.venv/bin/spark-submit").exists():
        pytest.skip("Spark's environment is not here: `make spark` makes it")
    settings = build(repository, "spark", images)
    source = tmp_path / "sample.zip"
    write_sample(source, ratings=5_000)
    md5 = read_source_md5(str(source))
    fetch_dataset(str(source), md5, object_store)
    features = FeatureSettings()
    assert s3_settings.access_key
    assert s3_settings.secret_key
    s3_keys = {
        "RECSYS_S3_BUCKET": s3_settings.bucket,
        "RECSYS_S3_ENDPOINT": s3_settings.endpoint or "",
        "RECSYS_S3_REGION": s3_settings.region,
        "AWS_ACCESS_KEY_ID": s3_settings.access_key.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": s3_settings.secret_key.get_secret_value(),
    }
    assert set(s3_keys) == set(S3_ENV)
    command = ["podman", "run", "--rm", "--pull=never", "--network=host", "--read-only"]
    command += ["--tmpfs=/tmp:rw,size=2g", "--user=10001:10001", "--cap-drop=ALL"]
    command += ["--security-opt=no-new-privileges", *(f"--env={name}" for name in s3_keys)]
    command += ["localhost/recsys-spark:tried", "/opt/spark/bin/spark-submit", "--master=local[2]"]
    for name, value in {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1"}.items():
        command += ["--conf", f"{name}={value}"]
    command += ["/opt/recsys/application.py", "frames", "--md5", md5]
    command += ["--settings", features.model_dump_json()]
    done = subprocess.run(
        command,
        env={**os.environ, **settings, **s3_keys},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    on_spark = read_stats(features.prefix(md5), object_store)
    object_store.delete([contract.features_key(features.prefix(md5), contract.STATS_FILE)])
    assert on_spark == generate_data_frames(md5, object_store, features, tmp_path)
