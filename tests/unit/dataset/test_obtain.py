from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from recsys.dataset import LocalDataset, needs_s3, obtain_dataset, write_sample
from recsys.errors import ConfigurationError, DatasetError, UnmatchedDatasetError


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "my films.zip"
    write_sample(path, ratings=100)
    return path


def md5_of(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "downloads"
    made.mkdir()
    return made


def test_a_path_is_used_in_place_and_needs_no_md5_file(sample: Path, folder: Path) -> None:
    sample.with_name("my films.zip.md5").unlink()
    assert obtain_dataset(str(sample), folder) == LocalDataset(sample, md5_of(sample))
    assert list(folder.iterdir()) == []


def test_a_url_is_downloaded_and_must_have_the_published_md5(sample: Path, folder: Path) -> None:
    seen: list[int] = []
    obtained = obtain_dataset(
        sample.as_uri(), folder, progress=lambda done, total: seen.append(done)
    )
    assert obtained == LocalDataset(folder / obtained.path.name, md5_of(sample))
    assert obtained.path.read_bytes() == sample.read_bytes()
    assert seen[-1] == sample.stat().st_size
    sample.with_name("my films.zip.md5").write_text(f"{'0' * 32}  my films.zip\n")
    with pytest.raises(UnmatchedDatasetError, match="published md5"):
        obtain_dataset(sample.as_uri(), folder)


def test_the_next_mirror_replaces_one_that_fails(sample: Path, folder: Path) -> None:
    source = f"{sample.parent}/none.zip {sample}"
    assert obtain_dataset(source, folder).path.read_bytes() == sample.read_bytes()


def test_a_download_that_is_not_a_dataset_is_refused(tmp_path: Path, folder: Path) -> None:
    page = tmp_path / "x.zip"
    page.write_bytes(b"<html>moved</html>")
    page.with_name("x.zip.md5").write_text(md5_of(page))
    with pytest.raises(DatasetError, match="damaged or truncated"):
        obtain_dataset(page.as_uri(), folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"there is no file .*none\.zip"):
        obtain_dataset(str(folder / "none.zip"), folder)


def test_an_object_in_s3_needs_settings(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="S3 settings"):
        obtain_dataset("s3://bucket/ml.zip", folder)


@pytest.mark.parametrize(
    ("source", "needed"),
    [
        ("s3://bucket/ml.zip", True),
        ("https://a/ml.zip, s3://bucket/ml.zip", True),
        ("https://a/ml.zip?s3://x", False),
        ("/data/s3://x.zip", False),
        ("my films.zip", False),
    ],
)
def test_whether_a_source_needs_s3(source: str, needed: bool) -> None:
    assert needs_s3(source) == needed
