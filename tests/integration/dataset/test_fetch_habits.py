"""What servers, proxies and storage services do to a download, as users have reported it."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.dataset import FetchSettings, fetch_dataset, obtain_dataset, read_source_md5
from recsys.errors import (
    ConfigurationError,
    SourceUnreachableError,
    UnmatchedDatasetError,
)
from recsys.object_store import ObjectStore
from tests.web_server import MD5, ZIP, Answer, Web, md5_of

FAST = FetchSettings(attempts=3, first_wait_s=0.01)
PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>...</body></html>"


@pytest.mark.parametrize("cut_after", [0, 1000, len(ZIP) - 30])
@pytest.mark.parametrize("ranges", [False, True])
def test_a_cut_without_content_length_is_repeated(
    web: Web, object_store: ObjectStore, ranges: bool, cut_after: int
) -> None:
    source = web.publish(sends_length=False, cut_after=cut_after, cuts=1, ranges=ranges)
    assert fetch_dataset(source, MD5, object_store, settings=FAST).fetched
    assert object_store.get_bytes(f"datasets/{MD5}/dataset.zip") == ZIP


@pytest.mark.parametrize("cut_after", [None, 5, 1000, len(ZIP)])
@pytest.mark.parametrize("ranges", [False, True])
def test_chunks_are_read_and_a_cut_between_them_is_found(
    web: Web, tmp_path: Path, ranges: bool, cut_after: int | None
) -> None:
    source = web.publish(chunked=True, cut_after=cut_after, cuts=1, ranges=ranges)
    assert obtain_dataset(source, tmp_path, settings=FAST).md5 == MD5
    assert (tmp_path / "dataset.zip").read_bytes() == ZIP


def test_a_server_that_always_cuts_is_a_transient_error(web: Web, tmp_path: Path) -> None:
    source = web.publish(sends_length=False, cut_after=1000, ranges=False)
    with pytest.raises(SourceUnreachableError, match="ended early"):
        obtain_dataset(source, tmp_path, settings=FAST)
    assert len(web.asked) == 1 + FAST.attempts


def test_a_cut_file_of_a_cache_is_asked_for_twice_and_named(web: Web, tmp_path: Path) -> None:
    """Its Content-Length is that of the cut file."""
    source = web.publish(content=ZIP[:5000])
    with pytest.raises(UnmatchedDatasetError, match="a zip that ends early"):
        obtain_dataset(source, tmp_path, settings=FAST)
    assert [path for path, _ in web.asked].count("/ml.zip") == 2


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (PAGE, "an HTML page titled 'Sign in'"),
        (b"\xef\xbb\xbf\n <HTML><body>Wait</body>", "an HTML page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document"),
        (b'{"error": "not found"}', "a JSON document"),
        (b"\x1f\x8b\x08" + bytes(90), "a gzip file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a pointer of Git LFS"),
    ],
)
@pytest.mark.parametrize("sends_length", [True, False])
def test_another_document_in_place_of_the_zip_is_named(
    web: Web, tmp_path: Path, content: bytes, named: str, sends_length: bool
) -> None:
    source = web.publish(content=content, sends_length=sends_length)
    with pytest.raises(UnmatchedDatasetError) as refused:
        obtain_dataset(source, tmp_path, settings=FAST)
    assert f"sends {named}" in refused.value.message
    assert "md5sum" not in refused.value.hint


def test_an_html_page_in_place_of_the_md5_is_named(web: Web) -> None:
    source = web.publish()
    web.answers["/ml.zip.md5"] = Answer(PAGE)
    with pytest.raises(Exception, match="an HTML page"):
        read_source_md5(source, settings=FAST)


def busy(status: int, retry_after: str | None, content: bytes) -> Answer:
    """Answers once with a status that asks for another attempt, then with the content."""

    def heal(answer: Answer) -> None:
        answer.status, answer.headers, answer.content = 200, {}, content

    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return Answer(b"", status=status, headers=headers, then=heal)


@pytest.mark.parametrize(
    ("status", "retry_after"),
    [
        (202, None),
        (202, "0"),
        (425, None),
        (429, "1"),
        (429, "not a number"),
        (429, "Fri, 27 Nov 2020 10:00:00 GMT"),
        (503, "1"),
    ],
)
def test_a_busy_server_is_asked_again(
    web: Web, tmp_path: Path, status: int, retry_after: str | None
) -> None:
    source = web.publish()
    web.answers["/ml.zip"] = busy(status, retry_after, ZIP)
    web.answers["/ml.zip.md5"] = busy(status, retry_after, MD5.encode())
    assert obtain_dataset(source, tmp_path, settings=FAST).md5 == MD5


@pytest.mark.parametrize("retry_after", ["3600", "Fri, 27 Nov 2099 10:00:00 GMT"])
def test_a_server_that_asks_for_a_long_pause_is_left_alone(
    web: Web, tmp_path: Path, retry_after: str
) -> None:
    source = web.publish(status=429, headers={"Retry-After": retry_after})
    with pytest.raises(SourceUnreachableError, match=r"Retry-After: [0-9]{4,} s"):
        obtain_dataset(source, tmp_path, settings=FAST)
    assert [path for path, _ in web.asked].count("/ml.zip") == 1


def test_a_busy_mirror_is_not_waited_for_if_another_answers(web: Web, tmp_path: Path) -> None:
    slow = web.publish(status=429, headers={"Retry-After": "3600"}, name="slow.zip")
    assert obtain_dataset(f"{slow} {web.publish()}", tmp_path, settings=FAST).md5 == MD5


def test_203_is_a_whole_file(web: Web, tmp_path: Path) -> None:
    assert obtain_dataset(web.publish(status=203), tmp_path, settings=FAST).md5 == MD5


class Signed:
    """A storage service with URLs that are signed for one file each."""

    def __init__(self, web: Web) -> None:
        self.zip = f"{web.address}/ml.zip?X-Amz-Signature=0ne"
        self.md5 = f"{web.address}/ml.zip.md5?X-Amz-Signature=tw0"
        for path in ("/ml.zip", "/ml.zip.md5"):
            web.answers[path] = Answer(b"<Error>SignatureDoesNotMatch</Error>", status=403)
        web.answers["/ml.zip?X-Amz-Signature=0ne"] = Answer(ZIP)
        web.answers["/ml.zip.md5?X-Amz-Signature=tw0"] = Answer(f"{MD5}  ml.zip\n".encode())


def test_the_md5_of_a_signed_url_is_named_apart(web: Web, object_store: ObjectStore) -> None:
    signed = Signed(web)
    for md5 in (signed.md5, MD5, MD5.upper()):
        source = f"{signed.zip} md5={md5}"
        assert read_source_md5(source, settings=FAST) == MD5
    assert fetch_dataset(source, MD5, object_store, settings=FAST).fetched
    with_mirror = f"{web.address}/gone.zip, {source}"
    assert read_source_md5(with_mirror, settings=FAST) == MD5


def test_a_signed_url_without_its_md5_says_how_to_name_it(web: Web) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_source_md5(Signed(web).zip, settings=FAST)
    assert "URL md5=URL" in refused.value.hint
    assert "0ne" not in str(refused.value)


def test_the_md5_of_a_file_may_be_given(tmp_path: Path) -> None:
    (tmp_path / "my films.zip").write_bytes(ZIP)
    (tmp_path / "sums").write_text(f"{MD5}  my films.zip\n")
    folder = tmp_path / "fetched"
    folder.mkdir()
    for md5 in (MD5, tmp_path / "sums"):
        source = f"{tmp_path}/my films.zip md5={md5}"
        assert obtain_dataset(source, folder, settings=FAST).md5 == MD5
    with pytest.raises(UnmatchedDatasetError):
        obtain_dataset(f"{tmp_path}/my films.zip md5={md5_of(b'x')}", folder, settings=FAST)
