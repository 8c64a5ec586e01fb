"""A dataset with several mirrors, which are tried in order until one works."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys import contract
from recsys.dataset import FetchSettings, fetch_dataset, read_source_md5
from recsys.errors import (
    ConfigurationError,
    DatasetError,
    RecsysError,
    SourceUnreachableError,
    UnmatchedDatasetError,
)
from recsys.object_store import ObjectStore
from tests.web_server import MD5, ZIP, Answer, Web, make_zip, md5_of

FAST = FetchSettings(attempts=2, first_wait_s=0)
KEY = contract.dataset_key(MD5, contract.DATASET_FILE)
OTHER = make_zip(ratings=b"other", movies=b"other")


@pytest.fixture
def mirrors(web: Web) -> str:
    """Two mirrors."""
    return f"{web.publish(name='one.zip')} {web.publish(name='two.zip')}"


@pytest.mark.parametrize(
    "first",
    [
        Answer(status=404),
        Answer(status=403),
        Answer(status=503),
        Answer(b"<html>We moved</html>"),
        Answer(MD5.encode(), cut_after=10),
        Answer(MD5.encode(), encoding="gzip"),
    ],
)
def test_the_md5_is_read_from_the_first_mirror_that_has_one(
    web: Web, mirrors: str, first: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    web.answers["/one.zip.md5"] = first
    web.answers["/two.zip.md5"].content = b"2" * 32
    assert read_source_md5(mirrors) == "2" * 32
    assert "one.zip" in caplog.text


def test_if_mirrors_differ_the_first_one_decides(web: Web, mirrors: str) -> None:
    web.answers["/two.zip.md5"].content = b"2" * 32
    assert read_source_md5(mirrors) == MD5
    assert web.asked == [("/one.zip.md5", None)]


def test_a_mirror_is_used_only_if_the_earlier_ones_fail(
    web: Web, mirrors: str, object_store: ObjectStore
) -> None:
    assert fetch_dataset(mirrors, MD5, object_store, settings=FAST).fetched
    assert web.asked == [("/one.zip", None)]


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (Answer(OTHER), "does not have the published md5"),
        (Answer(ZIP[:-1]), "does not have the published md5"),
        (Answer(ZIP, wrong_length=len(ZIP) - 1), "does not have the published md5"),
        (Answer(ZIP, wrong_length=len(ZIP) + 1), "IncompleteRead"),
        (Answer(ZIP, wrong_length=1 << 60), "too large"),
        (Answer(ZIP, encoding="gzip"), "sent compressed"),
        (Answer(ZIP, cut_after=1_000_000, ranges=False), "IncompleteRead"),
        (Answer(status=404), "does not have the published md5"),
        (Answer(status=403), "was refused"),
        (Answer(status=500), "HTTP 500"),
    ],
)
def test_the_zip_is_taken_from_the_first_mirror_with_the_right_md5(
    web: Web,
    mirrors: str,
    object_store: ObjectStore,
    caplog: pytest.LogCaptureFixture,
    first: Answer,
    message: str,
) -> None:
    web.answers["/one.zip"] = first
    fetched = fetch_dataset(mirrors, MD5, object_store, settings=FAST)
    assert fetched.fetched
    assert object_store.keys("") == [KEY]
    assert object_store.get_bytes(KEY) == ZIP
    assert "source 1 of 2" in caplog.text
    assert message in caplog.text


def test_mirrors_may_have_different_schemes(
    web: Web, tmp_path: Path, object_store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "my films.zip"
    path.write_bytes(ZIP)
    path.with_name("my films.zip.md5").write_text(MD5)
    web.answers["/one.zip"] = Answer(OTHER)
    # Without S3 settings, as in the asset watcher, only the mirror in S3 is unusable.
    source = f"s3://bucket/ml.zip, {web.address}/one.zip,{path}"
    assert read_source_md5(source) == MD5
    assert fetch_dataset(source, MD5, object_store, settings=FAST).fetched
    assert object_store.get_bytes(KEY) == ZIP
    assert "needs the S3 settings" in caplog.text


@pytest.mark.parametrize(
    ("one", "two", "error"),
    [
        (Answer(OTHER), Answer(status=500), SourceUnreachableError),
        (Answer(status=500), Answer(OTHER), SourceUnreachableError),
        (Answer(OTHER), Answer(status=403), UnmatchedDatasetError),
        (Answer(status=404), Answer(OTHER), UnmatchedDatasetError),
        (Answer(status=401), Answer(status=403), ConfigurationError),
    ],
)
def test_if_all_fail_the_error_is_transient_if_one_of_them_may_recover(
    web: Web,
    mirrors: str,
    object_store: ObjectStore,
    one: Answer,
    two: Answer,
    error: type[RecsysError],
) -> None:
    web.answers |= {"/one.zip": one, "/two.zip": two}
    with pytest.raises(error, match="none of the 2 sources") as caught:
        fetch_dataset(mirrors, MD5, object_store, settings=FAST)
    assert type(caught.value) is error
    assert "one.zip" in str(caught.value.found)
    assert "two.zip" in str(caught.value.found)
    assert object_store.keys("") == []


def test_after_an_invalid_archive_the_next_mirror_is_not_tried(
    web: Web, object_store: ObjectStore
) -> None:
    """The same md5 means the same bytes, so the next mirror would have the same archive."""
    hostile = make_zip(movies=b"movieId,title,genres\n")
    source = f"{web.publish(content=hostile)} {web.publish(name='two.zip', content=hostile)}"
    with pytest.raises(DatasetError, match=r"exactly one ratings\.csv"):
        fetch_dataset(source, md5_of(hostile), object_store, settings=FAST)
    assert web.asked == [("/ml.zip", None)]
    assert object_store.keys("") == []
