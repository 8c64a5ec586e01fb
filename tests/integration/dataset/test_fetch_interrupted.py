"""Connections that break, stall or lie, and the proxies between."""

from __future__ import annotations

from typing import Any

import pytest

from recsys import contract
from recsys.dataset import FetchSettings, download, fetch_dataset, read_source_md5
from recsys.dataset.sources import BucketSource
from recsys.errors import ConfigurationError, DatasetError, SourceUnreachableError
from recsys.object_store import ObjectStore, S3Settings
from tests.web_server import MD5, ZIP, Answer, Web

QUICK = FetchSettings(attempts=3, first_wait_s=0)
HASTY = FetchSettings(attempts=2, first_wait_s=0, read_timeout_s=0.3)
KEY = contract.dataset_key(MD5, contract.DATASET_FILE)
TENTH = len(ZIP) // 10
ELSEWHERE = "http://files.example.invalid/ml.zip"


def offsets(web: Web) -> list[int]:
    """Where each connection for the zip began."""
    return [
        int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        for path, wanted in web.asked
        if path == "/ml.zip"
    ]


@pytest.mark.parametrize("tenths", range(10))
def test_a_connection_cut_at_any_tenth_is_taken_up_there(
    web: Web, object_store: ObjectStore, tenths: int
) -> None:
    source = web.publish(cut_after=tenths * TENTH, cuts=1)
    assert fetch_dataset(source, MD5, object_store, settings=QUICK).fetched
    assert object_store.get_bytes(KEY) == ZIP
    assert offsets(web) == [0, tenths * TENTH]


def test_a_download_cut_at_every_tenth_comes_through_with_few_attempts(
    web: Web, object_store: ObjectStore
) -> None:
    source = web.publish(cut_after=TENTH)
    assert fetch_dataset(source, MD5, object_store, settings=QUICK).fetched
    assert object_store.get_bytes(KEY) == ZIP
    assert offsets(web) == [tenths * TENTH for tenths in range(11)]


def test_crumbs_are_not_progress(web: Web, object_store: ObjectStore) -> None:
    source = web.publish(cut_after=10)
    with pytest.raises(SourceUnreachableError):
        fetch_dataset(source, MD5, object_store, settings=QUICK)
    assert offsets(web) == [0, 10, 20]
    assert object_store.keys("") == []


def test_what_shrank_meanwhile_is_read_anew(web: Web, object_store: ObjectStore) -> None:
    """Some servers answer 416 where they should send the new file."""

    def shrink(answer: Answer) -> None:
        answer.content, answer.etag, answer.heeds_if_range = ZIP, '"two"', False

    source = web.publish(content=bytes(2 * len(ZIP)), cut_after=len(ZIP) + 1, cuts=1, then=shrink)
    assert fetch_dataset(source, MD5, object_store, settings=QUICK).fetched
    assert object_store.get_bytes(KEY) == ZIP
    assert offsets(web) == [0, len(ZIP) + 1, 0]


def test_a_server_that_does_not_heed_if_range_is_found_out_by_its_etag(
    web: Web, object_store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    def change(answer: Answer) -> None:
        answer.content, answer.etag = ZIP, '"two"'

    source = web.publish(
        content=bytes(len(ZIP)), cut_after=TENTH, cuts=1, then=change, heeds_if_range=False
    )
    assert fetch_dataset(source, MD5, object_store, settings=QUICK).fetched
    assert offsets(web) == [0, TENTH, 0]
    assert "the file has changed" in caplog.text


def test_parts_that_do_not_fit_together_are_read_anew_once(
    web: Web, object_store: ObjectStore
) -> None:
    """A server with the same ETag for another content: only the md5 tells."""

    def change(answer: Answer) -> None:
        answer.content = ZIP

    source = web.publish(content=bytes(len(ZIP)), cut_after=TENTH, cuts=1, then=change)
    assert fetch_dataset(source, MD5, object_store, settings=QUICK).fetched
    assert object_store.get_bytes(KEY) == ZIP
    assert offsets(web) == [0, TENTH, 0]


def test_a_whole_file_with_another_md5_is_not_read_twice(
    web: Web, object_store: ObjectStore
) -> None:
    source = web.publish(md5="0" * 32)
    with pytest.raises(DatasetError):
        fetch_dataset(source, "0" * 32, object_store, settings=QUICK)
    assert offsets(web) == [0]


@pytest.mark.parametrize("stalls_after", [0, TENTH])
@pytest.mark.parametrize("drips", [False, True], ids=["silent", "a byte now and then"])
def test_a_server_that_stalls_is_given_up(
    web: Web, object_store: ObjectStore, stalls_after: int, drips: bool
) -> None:
    source = web.publish(stalls_after=stalls_after, drips=drips, ranges=False)
    with pytest.raises(SourceUnreachableError):
        fetch_dataset(source, MD5, object_store, settings=HASTY)
    assert object_store.keys("") == []


@pytest.mark.parametrize("drips", [False, True], ids=["silent", "a byte now and then"])
def test_a_server_that_stalls_again_and_again_is_asked_for_the_rest(
    web: Web, object_store: ObjectStore, drips: bool
) -> None:
    source = web.publish(stalls_after=3 * TENTH, drips=drips)
    assert fetch_dataset(source, MD5, object_store, settings=HASTY).fetched
    assert object_store.get_bytes(KEY) == ZIP
    assert len(offsets(web)) == 4


def test_without_a_length_the_end_of_the_connection_is_the_end(
    web: Web, object_store: ObjectStore
) -> None:
    assert fetch_dataset(web.publish(says_length=False), MD5, object_store).fetched
    assert object_store.get_bytes(KEY) == ZIP


@pytest.mark.parametrize(
    "content_range", ["bytes 0-1/2", f"bytes {TENTH}-{'9' * 5000}/{'9' * 5000}", "pages 1-2", "²"]
)
def test_a_range_that_makes_no_sense_is_not_believed(
    web: Web, object_store: ObjectStore, content_range: str
) -> None:
    source = web.publish(cut_after=TENTH, cuts=1, content_range=content_range)
    assert fetch_dataset(source, MD5, object_store, settings=QUICK).fetched
    assert object_store.get_bytes(KEY) == ZIP


@pytest.mark.parametrize("file", ["/ml.zip", "/ml.zip.md5"])
def test_what_is_sent_compressed_is_refused_and_says_why(
    web: Web, object_store: ObjectStore, file: str
) -> None:
    source = web.publish()
    web.answers[file].encoding = "gzip"
    with pytest.raises(DatasetError, match="sent compressed") as caught:
        fetch_dataset(source, read_source_md5(source), object_store, settings=QUICK)
    assert "gzip" in str(caught.value.found)
    assert object_store.keys("") == []


def test_a_redirect_is_followed_and_one_to_nowhere_is_a_matter_of_settings(
    web: Web, object_store: ObjectStore
) -> None:
    source = web.publish()
    web.answers["/old.zip"] = Answer(status=302, location="/ml.zip")
    web.answers["/round.zip"] = Answer(status=302, location="/round.zip")
    web.answers["/file.zip"] = Answer(status=302, location="file:///etc/passwd")
    assert fetch_dataset(source.replace("ml.", "old."), MD5, object_store).fetched
    for name in ("round.", "file."):
        with pytest.raises(ConfigurationError, match="cannot be requested"):
            fetch_dataset(source.replace("ml.", name), "1" * 32, object_store, settings=QUICK)


def test_a_cut_read_from_s3_is_taken_up_where_it_broke(
    s3_settings: S3Settings, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    object_store.put_bytes("dumps/ml.zip", ZIP)
    begins: list[int] = []
    whole = ObjectStore.chunks

    def cut(store: ObjectStore, key: str, start: int = 0) -> Any:
        begins.append(start)
        chunks = whole(store, key, start)
        yield next(chunks)
        if len(begins) == 1:
            raise store._unavailable("cut")
        yield from chunks

    monkeypatch.setattr(ObjectStore, "chunks", cut)
    source = f"s3://{s3_settings.bucket}/dumps/ml.zip"
    assert fetch_dataset(source, MD5, object_store, s3=s3_settings, settings=QUICK).fetched
    assert begins == [0, 1 << 20]
    # What has shrunk is read from its beginning.
    there = BucketSource(s3_settings.bucket, "dumps/ml.zip", s3_settings)
    for start, mark in ((len(ZIP), "same key"), (10, None)):
        with there.open(start, mark) as part:
            assert part.start == 0


def test_the_waits_double_up_to_a_bound(
    web: Web, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    with pytest.raises(SourceUnreachableError):
        fetch_dataset(
            web.publish(status=503), MD5, object_store, settings=FetchSettings(attempts=8)
        )
    assert waits == [1, 2, 4, 8, 16, download._MAX_WAIT_S, download._MAX_WAIT_S]


# --- proxies and settings ---


def test_the_proxy_of_the_environment_is_used(
    web: Web, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.publish()
    monkeypatch.setenv("HTTP_PROXY", web.address)
    assert read_source_md5(ELSEWHERE) == MD5
    assert fetch_dataset(ELSEWHERE, MD5, object_store, settings=QUICK).fetched
    assert web.proxied == ["files.example.invalid"] * 2
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,files.example.invalid")
    with pytest.raises(SourceUnreachableError):
        read_source_md5(ELSEWHERE)
    assert len(web.proxied) == 2


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_password_gets_it_and_its_refusal_is_permanent(
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
        # This proxy opens no tunnels, which may pass.
        with pytest.raises(SourceUnreachableError, match="502"):
            read_source_md5(source)


@pytest.mark.parametrize("proxy", ["ftp://ann:s3cret@proxy", "socks9://ann:s3cret@proxy:1"])
def test_a_proxy_that_makes_no_sense_is_a_matter_of_settings(
    web: Web, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(ConfigurationError, match="the proxy") as caught:
        read_source_md5(ELSEWHERE)
    assert "s3cret" not in str(caught.value)


def test_patience_is_set_by_the_environment(
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
