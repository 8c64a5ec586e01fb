"""One dataset at several places: their order counts, and what one does wrong the next mends."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys import contract
from recsys.dataset import FetchSettings, fetch_dataset, read_source_md5
from recsys.errors import ConfigurationError, DatasetError, RecsysError, SourceUnreachableError
from recsys.object_store import ObjectStore
from tests.web_server import MD5, ZIP, Answer, Web, make_zip, md5_of

QUICK = FetchSettings(attempts=2, first_wait_s=0)
KEY = contract.dataset_key(MD5, contract.DATASET_FILE)
OTHER = make_zip(ratings=b"other", movies=b"other")


@pytest.fixture
def mirrors(web: Web) -> str:
    """Two mirrors, to be broken one by one."""
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
def test_the_md5_is_that_of_the_first_that_gives_one(
    web: Web, mirrors: str, first: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    web.answers["/one.zip.md5"] = first
    web.answers["/two.zip.md5"].content = b"2" * 32
    assert read_source_md5(mirrors) == "2" * 32
    assert "one.zip" in caplog.text


def test_of_mirrors_that_differ_the_order_decides(web: Web, mirrors: str) -> None:
    web.answers["/two.zip.md5"].content = b"2" * 32
    assert read_source_md5(mirrors) == MD5
    assert web.asked == [("/one.zip.md5", None)]


def test_a_mirror_is_asked_only_when_those_before_it_fail(
    web: Web, mirrors: str, object_store: ObjectStore
) -> None:
    assert fetch_dataset(mirrors, MD5, object_store, settings=QUICK).fetched
    assert web.asked == [("/one.zip", None)]


@pytest.mark.parametrize(
    ("first", "says"),
    [
        (Answer(OTHER), "does not have the published md5"),
        (Answer(ZIP[:-1]), "does not have the published md5"),
        (Answer(ZIP, claims=len(ZIP) - 1), "does not have the published md5"),
        (Answer(ZIP, claims=len(ZIP) + 1), "IncompleteRead"),
        (Answer(ZIP, claims=1 << 60), "too large"),
        (Answer(ZIP, encoding="gzip"), "sent compressed"),
        (Answer(ZIP, cut_after=1_000_000, ranges=False), "IncompleteRead"),
        (Answer(status=404), "does not exist"),
        (Answer(status=403), "was refused"),
        (Answer(status=500), "HTTP 500"),
    ],
)
def test_the_zip_comes_from_the_first_whose_bytes_have_the_md5(
    web: Web,
    mirrors: str,
    object_store: ObjectStore,
    caplog: pytest.LogCaptureFixture,
    first: Answer,
    says: str,
) -> None:
    web.answers["/one.zip"] = first
    fetched = fetch_dataset(mirrors, MD5, object_store, settings=QUICK)
    assert fetched.fetched
    assert object_store.keys("") == [KEY]
    assert object_store.get_bytes(KEY) == ZIP
    assert "source 1 of 2" in caplog.text
    assert says in caplog.text


def test_mirrors_may_be_of_any_kind(
    web: Web, tmp_path: Path, object_store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "my films.zip"
    path.write_bytes(ZIP)
    path.with_name("my films.zip.md5").write_text(MD5)
    web.answers["/one.zip"] = Answer(OTHER)
    # Without settings of S3, as the asset watcher is: that mirror alone cannot be used.
    source = f"s3://bucket/ml.zip, {web.address}/one.zip,{path}"
    assert read_source_md5(source) == MD5
    assert fetch_dataset(source, MD5, object_store, settings=QUICK).fetched
    assert object_store.get_bytes(KEY) == ZIP
    assert "needs the S3 settings" in caplog.text


@pytest.mark.parametrize(
    ("one", "two", "error"),
    [
        (Answer(OTHER), Answer(status=500), SourceUnreachableError),
        (Answer(status=500), Answer(OTHER), SourceUnreachableError),
        (Answer(OTHER), Answer(status=403), DatasetError),
        (Answer(status=404), Answer(OTHER), DatasetError),
        (Answer(status=401), Answer(status=403), ConfigurationError),
    ],
)
def test_when_all_fail_another_try_follows_only_if_it_may_help_one_of_them(
    web: Web,
    mirrors: str,
    object_store: ObjectStore,
    one: Answer,
    two: Answer,
    error: type[RecsysError],
) -> None:
    web.answers |= {"/one.zip": one, "/two.zip": two}
    with pytest.raises(error, match="none of the 2 sources") as caught:
        fetch_dataset(mirrors, MD5, object_store, settings=QUICK)
    assert type(caught.value) is error
    assert "one.zip" in str(caught.value.found)
    assert "two.zip" in str(caught.value.found)
    assert object_store.keys("") == []


def test_an_archive_that_is_refused_is_not_asked_for_elsewhere(
    web: Web, object_store: ObjectStore
) -> None:
    """The same md5 means the same bytes."""
    hostile = make_zip(movies=b"movieId,title,genres\n")
    source = f"{web.publish(content=hostile)} {web.publish(name='two.zip', content=hostile)}"
    with pytest.raises(DatasetError, match=r"exactly one ratings\.csv"):
        fetch_dataset(source, md5_of(hostile), object_store, settings=QUICK)
    assert web.asked == [("/ml.zip", None)]
    assert object_store.keys("") == []
