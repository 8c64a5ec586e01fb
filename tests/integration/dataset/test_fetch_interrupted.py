"""Fetching over connections that break, stall or send wrong headers, and through proxies."""

from __future__ import annotations

from typing import Any

import pytest

from recsys import contract
from recsys.dataset import FetchSettings, fetch_dataset, read_source_md5, waiting
from recsys.dataset.sources import BucketSource
from recsys.errors import (
    ConfigurationError,
    DatasetError,
    ServiceUnavailableError,
    SourceUnreachableError,
    UnmatchedDatasetError,
)
from recsys.object_store import ObjectStore, S3Settings
from tests.web_server import MD5, ZIP, Answer, Web

FAST = FetchSettings(attempts=3, first_wait_s=0)
IMPATIENT = FetchSettings(attempts=2, first_wait_s=0, read_timeout_s=0.3)
# Long enough that only the server is late, however loaded the machine is.
PATIENT = FetchSettings(attempts=2, first_wait_s=0, read_timeout_s=2)
KEY = contract.dataset_key(MD5, contract.DATASET_FILE)
TENTH = len(ZIP) // 10
ELSEWHERE = "http://files.example.invalid/ml.zip"


def offsets(web: Web) -> list[int]:
    """Returns the offset at which each connection for the zip started."""
    return [
        int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        for path, wanted in web.asked
        if path == "/ml.zip"
    ]


@pytest.mark.parametrize("tenths", range(10))
def test_a_download_resumes_wherever_the_connection_breaks(
    web: Web, object_store: ObjectStore, tenths: int
) -> None:
    source = web.publish(cut_after=tenths * TENTH, cuts=1)
    assert fetch_dataset(source, MD5, object_store, settings=FAST).fetched
    assert object_store.get_bytes(KEY) == ZIP
    assert offsets(web) == [0, tenths * TENTH]


def test_connections_that_make_progress_do_not_count_as_failed_attempts(
    web: Web, object_store: ObjectStore
) -> None:
    source = web.publish(cut_after=TENTH)
    assert fetch_dataset(source, MD5, object_store, settings=FAST).fetched
    assert object_store.get_bytes(KEY) == ZIP
    assert offsets(web) == [tenths * TENTH for tenths in range(11)]


def test_a_few_bytes_do_not_count_as_progress(web: Web, object_store: ObjectStore) -> None:
    source = web.publish(cut_after=10)
    with pytest.raises(SourceUnreachableError):
        fetch_dataset(source, MD5, object_store, settings=FAST)
    assert offsets(web) == [0, 10, 20]
    assert object_store.keys("") == []


def test_a_file_that_became_shorter_is_read_from_the_start(
    web: Web, object_store: ObjectStore
) -> None:
    """Some servers respond with 416 although they should send the new file."""

    def shrink(answer: Answer) -> None:
        answer.content, answer.etag, answer.supports_if_range = ZIP, '"two"', False

    source = web.publish(content=bytes(2 * len(ZIP)), cut_after=len(ZIP) + 1, cuts=1, then=shrink)
    assert fetch_dataset(source, MD5, object_store, settings=FAST).fetched
    assert object_store.get_bytes(KEY) == ZIP
    assert offsets(web) == [0, len(ZIP) + 1, 0]


def test_a_server_that_ignores_if_range_is_detected_by_its_etag(
    web: Web, object_store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    def change(answer: Answer) -> None:
        answer.content, answer.etag = ZIP, '"two"'

    source = web.publish(
        content=bytes(len(ZIP)), cut_after=TENTH, cuts=1, then=change, supports_if_range=False
    )
    assert fetch_dataset(source, MD5, object_store, settings=FAST).fetched
    assert offsets(web) == [0, TENTH, 0]
    assert "the file has changed" in caplog.text


def test_a_resumed_download_with_a_wrong_md5_is_repeated_once(
    web: Web, object_store: ObjectStore
) -> None:
    """The server uses the same ETag for other content, so only the md5 shows the change."""

    def change(answer: Answer) -> None:
        answer.content = ZIP

    source = web.publish(content=bytes(len(ZIP)), cut_after=TENTH, cuts=1, then=change)
    assert fetch_dataset(source, MD5, object_store, settings=FAST).fetched
    assert object_store.get_bytes(KEY) == ZIP
    assert offsets(web) == [0, TENTH, 0]


def test_a_download_that_was_not_resumed_is_not_repeated(
    web: Web, object_store: ObjectStore
) -> None:
    source = web.publish(md5="0" * 32)
    with pytest.raises(UnmatchedDatasetError):
        fetch_dataset(source, "0" * 32, object_store, settings=FAST)
    assert offsets(web) == [0]


@pytest.mark.parametrize("stalls_after", [0, TENTH])
@pytest.mark.parametrize("drips", [False, True], ids=["silent", "single bytes"])
def test_a_stalled_server_fails_after_the_maximum_attempts(
    web: Web, object_store: ObjectStore, stalls_after: int, drips: bool
) -> None:
    source = web.publish(stalls_after=stalls_after, drips=drips, ranges=False)
    with pytest.raises(SourceUnreachableError):
        fetch_dataset(source, MD5, object_store, settings=IMPATIENT)
    assert object_store.keys("") == []


@pytest.mark.parametrize("drips", [False, True], ids=["silent", "single bytes"])
def test_a_server_that_stalls_repeatedly_is_asked_for_the_rest(
    web: Web, object_store: ObjectStore, drips: bool
) -> None:
    source = web.publish(stalls_after=3 * TENTH, drips=drips)
    assert fetch_dataset(source, MD5, object_store, settings=PATIENT).fetched
    assert object_store.get_bytes(KEY) == ZIP
    assert len(offsets(web)) == 4


def test_without_a_content_length_the_end_of_the_connection_is_the_end_of_the_file(
    web: Web, object_store: ObjectStore
) -> None:
    assert fetch_dataset(web.publish(sends_length=False), MD5, object_store).fetched
    assert object_store.get_bytes(KEY) == ZIP


@pytest.mark.parametrize(
    "content_range", ["bytes 0-1/2", f"bytes {TENTH}-{'9' * 5000}/{'9' * 5000}", "pages 1-2", "²"]
)
def test_an_invalid_content_range_is_ignored(
    web: Web, object_store: ObjectStore, content_range: str
) -> None:
    source = web.publish(cut_after=TENTH, cuts=1, content_range=content_range)
    assert fetch_dataset(source, MD5, object_store, settings=FAST).fetched
    assert object_store.get_bytes(KEY) == ZIP


@pytest.mark.parametrize("file", ["/ml.zip", "/ml.zip.md5"])
def test_a_compressed_response_is_rejected(web: Web, object_store: ObjectStore, file: str) -> None:
    source = web.publish()
    web.answers[file].encoding = "gzip"
    with pytest.raises(DatasetError, match="sent compressed") as caught:
        fetch_dataset(source, read_source_md5(source), object_store, settings=FAST)
    assert "gzip" in str(caught.value.found)
    assert object_store.keys("") == []


def test_redirects_are_followed_and_invalid_ones_are_configuration_errors(
    web: Web, object_store: ObjectStore
) -> None:
    source = web.publish()
    web.answers["/old.zip"] = Answer(status=302, location="/ml.zip")
    web.answers["/round.zip"] = Answer(status=302, location="/round.zip")
    web.answers["/file.zip"] = Answer(status=302, location="file:///etc/passwd")
    assert fetch_dataset(source.replace("ml.", "old."), MD5, object_store).fetched
    for name in ("round.", "file."):
        with pytest.raises(ConfigurationError, match="cannot be requested"):
            fetch_dataset(source.replace("ml.", name), "1" * 32, object_store, settings=FAST)


def test_a_download_from_s3_resumes_where_the_connection_broke(
    s3_settings: S3Settings, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    object_store.put_bytes("dumps/ml.zip", ZIP)
    offsets_read: list[int] = []
    whole = ObjectStore.chunks

    def cut(store: ObjectStore, key: str, start: int = 0) -> Any:
        offsets_read.append(start)
        chunks = whole(store, key, start)
        yield next(chunks)
        if len(offsets_read) == 1:
            raise ServiceUnavailableError("cut")
        yield from chunks

    monkeypatch.setattr(ObjectStore, "chunks", cut)
    source = f"s3://{s3_settings.bucket}/dumps/ml.zip"
    assert fetch_dataset(source, MD5, object_store, s3=s3_settings, settings=FAST).fetched
    assert offsets_read == [0, 1 << 20]
    # An object that became shorter is read from the start.
    there = BucketSource(s3_settings.bucket, "dumps/ml.zip", s3_settings)
    for start, mark in ((len(ZIP), "same key"), (10, None)):
        with there.open(start, mark) as part:
            assert part.start == 0


def test_the_waits_double_up_to_a_maximum(
    web: Web, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    with pytest.raises(SourceUnreachableError):
        fetch_dataset(
            web.publish(status=503), MD5, object_store, settings=FetchSettings(attempts=8)
        )
    assert waits == [1, 2, 4, 8, 16, waiting.MAX_WAIT_S, waiting.MAX_WAIT_S]


# --- proxies and settings ---


def test_the_proxy_of_the_environment_is_used(
    web: Web, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.publish()
    monkeypatch.setenv("HTTP_PROXY", web.address)
    assert read_source_md5(ELSEWHERE) == MD5
    assert fetch_dataset(ELSEWHERE, MD5, object_store, settings=FAST).fetched
    assert web.proxied == ["files.example.invalid"] * 2
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,files.example.invalid")
    with pytest.raises(SourceUnreachableError):
        read_source_md5(ELSEWHERE)
    assert len(web.proxied) == 2


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_gets_its_password_and_a_wrong_one_is_a_permanent_error(
    web: Web, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, scheme: str
) -> None:
    caplog.set_level("DEBUG", logger="recsys")
    web.publish()
    web.proxy_login = "ann:s3cret"
    source = ELSEWHERE.replace("http", scheme)
    proxy = f"{scheme}_proxy".upper()
    monkeypatch.setenv(proxy, web.address.replace("//", "//ann:wr0ng@"))
    with pytest.raises(ConfigurationError, match="refused") as caught:
        read_source_md5(source)
    assert "407" in str(caught.value.found)
    assert "wr0ng" not in str(caught.value) + caplog.text
    monkeypatch.setenv(proxy, web.address.replace("//", "//ann:s3cret@"))
    if scheme == "http":
        assert read_source_md5(source) == MD5
    else:
        # This proxy opens no tunnels; the error 502 is transient.
        with pytest.raises(SourceUnreachableError, match="502"):
            read_source_md5(source)


@pytest.mark.parametrize("proxy", ["ftp://ann:s3cret@proxy", "socks9://ann:s3cret@proxy:1"])
def test_an_unusable_proxy_is_a_configuration_error(
    web: Web, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(ConfigurationError, match="the proxy") as caught:
        read_source_md5(ELSEWHERE)
    assert "s3cret" not in str(caught.value)


def test_attempts_and_timeouts_are_read_from_the_environment(
    web: Web, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = web.publish(status=500)
    monkeypatch.setenv("RECSYS_FETCH_ATTEMPTS", "2")
    monkeypatch.setenv("RECSYS_FETCH_FIRST_WAIT_S", "0")
    with pytest.raises(SourceUnreachableError):
        fetch_dataset(source, MD5, object_store)
    assert len(offsets(web)) == 2
    monkeypatch.setenv("RECSYS_FETCH_READ_TIMEOUT_S", "never")
    with pytest.raises(ConfigurationError, match="RECSYS_FETCH_") as caught:
        read_source_md5(source)
    assert "read_timeout_s" in str(caught.value.found)
