from __future__ import annotations

import hashlib
import socket
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from recsys import contract
from recsys.dataset import ArchiveLimits, FetchSettings, fetch_dataset, read_source_md5
from recsys.dataset.progress import LogProgress
from recsys.errors import (
    ConfigurationError,
    DatasetError,
    SourceUnreachableError,
    TransientError,
    UnmatchedDatasetError,
)
from recsys.object_store import ObjectStore, S3Settings
from tests.web_server import MD5, ZIP, Answer, Web, make_zip, md5_of

FAST = FetchSettings(attempts=4, first_wait_s=0.01)


def key(md5: str = MD5) -> str:
    return contract.dataset_key(md5, contract.DATASET_FILE)


def refused_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def test_a_dataset_on_a_web_server_is_fetched_once(web: Web, object_store: ObjectStore) -> None:
    source = web.publish()
    seen: list[tuple[int, int | None]] = []
    md5 = read_source_md5(source)
    first = fetch_dataset(
        source, md5, object_store, progress=lambda done, of: seen.append((done, of))
    )
    assert first.fetched
    assert first.size == len(ZIP)
    assert first.sha256 == hashlib.sha256(ZIP).hexdigest()
    assert object_store.get_bytes(first.key) == ZIP
    assert seen[-1] == (len(ZIP), len(ZIP))
    requests = len(web.asked)
    again = fetch_dataset(source, md5, object_store)
    assert not again.fetched
    assert (again.md5, again.sha256, again.size, again.key) == (
        *(first.md5, first.sha256, first.size),
        first.key,
    )
    assert len(web.asked) == requests


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_dataset_in_a_file_is_fetched(
    tmp_path: Path, object_store: ObjectStore, form: str
) -> None:
    path = tmp_path / "my films.zip"
    path.write_bytes(ZIP)
    path.with_name("my films.zip.md5").write_text(f"{MD5.upper()}  my films.zip\r\n")
    source = form.format(path)
    assert read_source_md5(source) == MD5
    assert fetch_dataset(source, MD5, object_store).fetched
    assert object_store.get_bytes(key()) == ZIP


def test_a_dataset_in_s3_is_fetched_with_the_s3_settings(
    s3_settings: S3Settings, object_store: ObjectStore
) -> None:
    object_store.put_bytes("dumps/ml.zip", ZIP)
    object_store.put_bytes("dumps/ml.zip.md5", MD5.encode())
    source = f"s3://{s3_settings.bucket}/dumps/ml.zip"
    assert read_source_md5(source, s3_settings) == MD5
    assert fetch_dataset(source, MD5, object_store, s3=s3_settings).fetched
    assert object_store.get_bytes(key()) == ZIP


def test_the_real_dataset_is_fetched(ml_latest_small: Path, object_store: ObjectStore) -> None:
    md5 = read_source_md5(str(ml_latest_small))
    fetched = fetch_dataset(str(ml_latest_small), md5, object_store)
    assert object_store.sha256(fetched.key) == fetched.sha256
    assert fetched.size == ml_latest_small.stat().st_size


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(status=404), DatasetError),
        (Answer(b""), DatasetError),
        (Answer(b"<html>Welcome to our new site</html>"), DatasetError),
        (Answer(b"x" * 1_000_000), DatasetError),
        (Answer(status=403), ConfigurationError),
        (Answer(status=500), SourceUnreachableError),
        (Answer(status=503), SourceUnreachableError),
        (Answer(status=429), SourceUnreachableError),
        (Answer(MD5.encode(), cut_after=10), SourceUnreachableError),
    ],
)
def test_an_md5_file_without_an_md5_is_an_error_and_never_counts_as_unchanged(
    web: Web, answer: Answer, error: type[Exception]
) -> None:
    source = web.publish()
    web.answers["/ml.zip.md5"] = answer
    with pytest.raises(error, match="what to do"):
        read_source_md5(source)


def test_an_unreachable_source_is_a_transient_error(object_store: ObjectStore) -> None:
    for host in (f"127.0.0.1:{refused_port()}", "no-such-host.invalid"):
        with pytest.raises(SourceUnreachableError):
            read_source_md5(f"http://{host}/ml.zip")
    with pytest.raises(SourceUnreachableError):
        fetch_dataset(f"http://127.0.0.1:{refused_port()}/x.zip", MD5, object_store, settings=FAST)


def test_a_missing_object_and_missing_settings_are_different_errors(
    s3_settings: S3Settings,
) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        read_source_md5(f"s3://{s3_settings.bucket}/ml.zip", s3_settings)
    with pytest.raises(ConfigurationError, match="settings"):
        read_source_md5(f"s3://{s3_settings.bucket}/ml.zip")


@pytest.mark.parametrize("source", ["ftp://host/ml.zip", "http:///ml.zip", "s3://bucket", "x://"])
def test_an_invalid_source_is_a_configuration_error(source: str) -> None:
    with pytest.raises(ConfigurationError, match="source is invalid"):
        read_source_md5(source)


def test_a_missing_md5_file_is_a_permanent_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"ml\.zip\.md5 does not exist"):
        read_source_md5(str(tmp_path / "ml.zip"))


def test_a_zip_that_is_uploaded_after_its_md5_is_fetched_by_a_retry(
    tmp_path: Path, object_store: ObjectStore
) -> None:
    """At first the zip is missing, then it is incomplete."""
    source = tmp_path / "ml.zip"
    source.with_name("ml.zip.md5").write_text(MD5)
    md5 = read_source_md5(str(source))
    for part in (None, b"", ZIP[: len(ZIP) // 2]):
        if part is not None:
            source.write_bytes(part)
        with pytest.raises(UnmatchedDatasetError, match="does not have the published md5") as error:
            fetch_dataset(str(source), md5, object_store, settings=FAST)
        assert isinstance(error.value, TransientError)
        assert "wait until the zip is uploaded" in error.value.hint
        assert object_store.keys("") == []
    source.write_bytes(ZIP)
    assert fetch_dataset(str(source), md5, object_store, settings=FAST).fetched


def test_secrets_in_a_url_appear_neither_in_messages_nor_in_logs(
    web: Web, object_store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    source = web.publish().replace("http://", "http://ann:s3cret@") + "?signature=s3cret"
    assert read_source_md5(source) == MD5
    web.answers["/ml.zip"].status = 500
    with pytest.raises(SourceUnreachableError) as caught:
        fetch_dataset(source, MD5, object_store, settings=FAST)
    assert "s3cret" not in str(caught.value) + caplog.text
    assert "/ml.zip" in str(caught.value)


def test_a_download_resumes_where_the_connection_broke(web: Web, object_store: ObjectStore) -> None:
    source = web.publish(cut_after=1_500_000, cuts=2)
    assert fetch_dataset(source, MD5, object_store, settings=FAST).fetched
    assert object_store.get_bytes(key()) == ZIP
    assert [wanted for _, wanted in web.asked] == [None, "bytes=1500000-", "bytes=3000000-"]


@pytest.mark.parametrize(
    "how",
    [{"ranges": False}, {"etag": None}, {"etag": 'W/"weak"'}, {"content_range": "bytes 0-1/2"}],
)
def test_a_source_that_cannot_resume_is_read_from_the_start(
    web: Web, object_store: ObjectStore, how: dict[str, Any]
) -> None:
    source = web.publish(cut_after=1_500_000, cuts=1, **how)
    assert fetch_dataset(source, MD5, object_store, settings=FAST).fetched
    assert object_store.get_bytes(key()) == ZIP


def test_two_versions_of_a_file_are_not_mixed(web: Web, object_store: ObjectStore) -> None:
    def change(answer: Answer) -> None:
        answer.content, answer.etag = ZIP, '"two"'

    source = web.publish(content=bytes(len(ZIP)), cut_after=1_500_000, cuts=1, then=change)
    assert fetch_dataset(source, MD5, object_store, settings=FAST).fetched
    assert object_store.get_bytes(key()) == ZIP


def test_a_source_that_always_disconnects_fails_after_the_maximum_attempts(
    web: Web, object_store: ObjectStore
) -> None:
    source = web.publish(cut_after=1000, ranges=False)
    with pytest.raises(SourceUnreachableError):
        fetch_dataset(source, MD5, object_store, settings=FAST)
    assert len(web.asked) == FAST.attempts
    assert object_store.keys("") == []


@pytest.mark.parametrize(
    ("wrong_length", "error"),
    [(len(ZIP) + 1000, SourceUnreachableError), (len(ZIP) - 1000, UnmatchedDatasetError)],
)
def test_a_wrong_content_length_is_detected(
    web: Web, object_store: ObjectStore, wrong_length: int, error: type[Exception]
) -> None:
    with pytest.raises(error):
        fetch_dataset(web.publish(wrong_length=wrong_length), MD5, object_store, settings=FAST)
    assert object_store.keys("") == []


def test_a_zip_with_another_md5_is_rejected_and_leaves_nothing(
    web: Web, object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    source = web.publish(md5="0" * 32)
    with pytest.raises(UnmatchedDatasetError, match="md5") as caught:
        fetch_dataset(source, "0" * 32, object_store, settings=FAST)
    assert MD5 in str(caught.value.found)
    assert "0" * 32 in str(caught.value.expected)
    assert "publish a matching pair" in caught.value.hint
    assert object_store.keys("") == []
    assert list(tmp_path.iterdir()) == []


def test_the_error_says_that_the_source_changed_after_its_md5_was_read(
    web: Web, object_store: ObjectStore
) -> None:
    source = web.publish()
    md5 = read_source_md5(source)
    other = make_zip(ratings=b"other", movies=b"other")
    web.answers["/ml.zip"].content = other
    web.answers["/ml.zip.md5"].content = md5_of(other).encode()
    with pytest.raises(DatasetError, match="the source has changed"):
        fetch_dataset(source, md5, object_store, settings=FAST)
    assert object_store.keys("") == []


@pytest.mark.parametrize(
    "content",
    [
        ZIP[: len(ZIP) // 2],
        b"<html>maintenance</html>",
        make_zip(movies=b"movieId,title,genres\n"),
        make_zip(ratings=bytes(32 << 20), movies=b"movieId,title,genres\n"),
    ],
    ids=["truncated", "not a zip", "no ratings", "zip bomb"],
)
def test_an_invalid_archive_is_rejected_although_its_md5_is_right(
    web: Web, object_store: ObjectStore, content: bytes
) -> None:
    source = web.publish(content=content)
    with pytest.raises(DatasetError):
        fetch_dataset(source, md5_of(content), object_store, settings=FAST)
    assert object_store.keys("") == []


@pytest.mark.parametrize("how", [{}, {"wrong_length": 10}])
def test_a_zip_over_the_size_limit_is_rejected(
    web: Web, object_store: ObjectStore, how: dict[str, Any]
) -> None:
    limits = ArchiveLimits(max_archive_bytes=5 if how else 1000)
    with pytest.raises(DatasetError, match="too large"):
        fetch_dataset(web.publish(**how), MD5, object_store, limits=limits)
    assert object_store.keys("") == []


def test_source_and_progress_are_logged(
    web: Web,
    object_store: ObjectStore,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level("INFO", logger="recsys")
    monkeypatch.setattr("recsys.dataset.fetch.LogProgress", partial(LogProgress, every=0))
    source = web.publish()
    fetch_dataset(source, MD5, object_store)
    log = "\n".join(caplog.messages)
    assert f"fetching {source}" in log
    assert "fetched 3 of 3 MB (100 %)" in log
    assert f"{MD5}; storing them" in log
    assert "stored 3 of 3 MB (100 %)" in log


def test_an_object_without_our_metadata_is_replaced(web: Web, object_store: ObjectStore) -> None:
    object_store.put_bytes(key(), b"written by another program")
    assert fetch_dataset(web.publish(), MD5, object_store).fetched
    assert object_store.get_bytes(key()) == ZIP


def test_an_invalid_md5_never_becomes_a_key(object_store: ObjectStore) -> None:
    with pytest.raises(ValueError, match="not an md5"):
        fetch_dataset("x.zip", "../../etc", object_store)
