"""The object store against a real S3 server, and against servers that fail."""

from __future__ import annotations

import hashlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from pydantic import SecretStr

from recsys.embedded.s3 import S3
from recsys.errors import (
    ArtifactError,
    ConfigurationError,
    PermanentError,
    RecsysError,
    ServiceUnavailableError,
)
from recsys.object_store import ObjectStore, S3Settings, StoredObject, file_sha256
from tests.conftest import fresh_bucket

PART = 8 << 20
"""boto3 uploads larger files in parts."""
CONTENTS = {"empty": b"", "one byte": b"\0", "text": b"words\n" * 1000, "parts": b"ab" * PART}
NONE = "0" * 64


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- what is stored ---


@pytest.mark.parametrize("data", CONTENTS.values(), ids=CONTENTS)
def test_what_is_written_is_read_back_by_every_way(
    object_store: ObjectStore, tmp_path: Path, data: bytes
) -> None:
    given, got = tmp_path / "given", tmp_path / "got"
    given.write_bytes(data)
    object_store.put_bytes("bytes", data)
    object_store.put_file("file", given)
    for key in ("bytes", "file"):
        assert object_store.get_bytes(key) == data
        assert b"".join(object_store.chunks(key)) == data
        assert object_store.sha256(key) == sha256(data)
        assert object_store.head(key) == StoredObject(key, len(data), {})
        object_store.download(key, got, sha256(data))
        assert got.read_bytes() == data
        assert file_sha256(got) == sha256(data)


def test_writing_again_replaces_all_of_it(object_store: ObjectStore) -> None:
    object_store.put_bytes("key", b"longer than the next", {"release-id": "old", "sha256": "x"})
    object_store.put_bytes("key", b"short", {"release-id": "new"})
    assert object_store.get_bytes("key") == b"short"
    assert object_store.head("key") == StoredObject("key", 5, {"release-id": "new"})


def test_reading_goes_on_from_an_offset(object_store: ObjectStore) -> None:
    object_store.put_bytes("key", b"0123456789")
    assert b"".join(object_store.chunks("key", 7)) == b"789"


def test_a_copy_has_the_content_and_the_metadata_that_it_was_given(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    (tmp_path / "model").write_bytes(b"model")
    object_store.put_file("releases/a/model", tmp_path / "model", {"release-id": "a", "more": "x"})
    object_store.copy("releases/a/model", "public", {"release-id": "b"})
    assert object_store.get_bytes("public") == b"model"
    assert object_store.head("public") == StoredObject("public", 5, {"release-id": "b"})
    before = object_store.head("releases/a/model")
    assert before == StoredObject("releases/a/model", 5, {"release-id": "a", "more": "x"})


def test_keys_are_those_below_a_prefix_in_order(object_store: ObjectStore) -> None:
    keys = ["a/2", "a/10", "a/1", "a/b/c", "a", "ab/1", "A/1"]
    for key in keys:
        object_store.put_bytes(key, b"x")
    assert object_store.keys("a/") == ["a/1", "a/10", "a/2", "a/b/c"]
    assert object_store.keys("") == sorted(keys)
    assert object_store.keys("none/") == []


def test_only_what_is_named_is_deleted_and_twice_is_no_error(object_store: ObjectStore) -> None:
    for key in ("a/1", "a/2", "a/20"):
        object_store.put_bytes(key, b"x")
    object_store.delete(["a/2", "a/none"])
    object_store.delete(["a/2"])
    object_store.delete([])
    assert object_store.keys("") == ["a/1", "a/20"]
    assert object_store.head("a/2") is None


# --- what is not there, or not what it should be ---


@pytest.mark.parametrize("before", [None, b"of an earlier download"])
def test_a_download_with_another_sha256_leaves_everything_as_it_was(
    object_store: ObjectStore, tmp_path: Path, before: bytes | None
) -> None:
    object_store.put_bytes("key", b"changed")
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(ArtifactError) as failure:
        object_store.download("key", path, NONE)
    assert failure.value.found == f"sha256 {sha256(b'changed')}"
    assert failure.value.expected == f"sha256 {NONE}"
    assert failure.value.hint
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == (
        {} if before is None else {"file": before}
    )


READS: dict[str, Callable[[ObjectStore, Path], object]] = {
    "get_bytes": lambda store, folder: store.get_bytes("key"),
    "chunks": lambda store, folder: list(store.chunks("key")),
    "sha256": lambda store, folder: store.sha256("key"),
    "download": lambda store, folder: store.download("key", folder / "got"),
}
OPERATIONS: dict[str, Callable[[ObjectStore, Path], object]] = {
    **READS,
    "check": lambda store, folder: store.check(),
    "head": lambda store, folder: store.head("key"),
    "copy": lambda store, folder: store.copy("key", "other", {}),
    "keys": lambda store, folder: store.keys(""),
    "delete": lambda store, folder: store.delete(["key"]),
    "put_bytes": lambda store, folder: store.put_bytes("key", b"x"),
    "put_file": lambda store, folder: store.put_file("key", Path(__file__)),
}
every_operation = pytest.mark.parametrize("operation", OPERATIONS)


@pytest.mark.parametrize("operation", [*READS, "copy"])
def test_an_object_that_is_not_there_is_named(
    object_store: ObjectStore, tmp_path: Path, operation: str
) -> None:
    with pytest.raises(ArtifactError, match=f"no key in the bucket {object_store.bucket}"):
        OPERATIONS[operation](object_store, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def any_bucket(s3_server: S3) -> Iterator[S3Settings]:
    """A bucket for tests that never get to write to it."""
    with fresh_bucket(s3_server) as settings:
        yield settings


@every_operation
@pytest.mark.parametrize("wrong", ["access_key", "secret_key"])
def test_wrong_credentials_are_permanent_and_say_what_to_check(
    any_bucket: S3Settings, tmp_path: Path, wrong: str, operation: str
) -> None:
    change = {wrong: SecretStr("wrong-hush"), "max_attempts": 1}
    store = ObjectStore.connect(any_bucket.model_copy(update=change))
    with pytest.raises(ConfigurationError, match="refused the credentials") as failure:
        OPERATIONS[operation](store, tmp_path)
    assert failure.value.found in {"403", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
    assert "access key" in failure.value.hint
    assert "hush" not in str(failure.value)
    assert list(tmp_path.iterdir()) == []


# S3 answers a HEAD without saying which of the two is missing; a DELETE may be answered likewise.
@pytest.mark.parametrize("operation", sorted(set(OPERATIONS) - {"head", "delete"}))
def test_a_bucket_that_is_missing_is_permanent_and_named(
    any_bucket: S3Settings, tmp_path: Path, operation: str
) -> None:
    change = {"bucket": "no-such-bucket", "max_attempts": 1}
    store = ObjectStore.connect(any_bucket.model_copy(update=change))
    with pytest.raises(ConfigurationError, match="bucket does not exist") as failure:
        OPERATIONS[operation](store, tmp_path)
    assert failure.value.found == "no-such-bucket"
    assert "create it" in failure.value.hint


@pytest.fixture
def no_server() -> Iterator[str]:
    """An endpoint that nobody listens at, though its port is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def store_at(endpoint: str = "http://127.0.0.1:9", **changes: Any) -> ObjectStore:
    said = {"bucket": "bucket", "endpoint": endpoint, "access_key": "id", "secret_key": "hush"}
    return ObjectStore.connect(S3Settings.model_validate({**said, "max_attempts": 1, **changes}))


@every_operation
def test_a_server_that_is_down_is_transient_and_told_where_it_should_be(
    no_server: str, tmp_path: Path, operation: str
) -> None:
    with pytest.raises(ServiceUnavailableError, match="S3 does not answer") as failure:
        OPERATIONS[operation](store_at(no_server), tmp_path)
    assert no_server in str(failure.value.found)
    assert failure.value.expected == f"an answer from {no_server}"
    assert "recsys doctor" in failure.value.hint
    assert list(tmp_path.iterdir()) == []


class CutShort(socketserver.StreamRequestHandler):
    """Promises a hundred bytes, sends ten and hangs up."""

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")


@pytest.fixture
def cut_short() -> Iterator[str]:
    """The endpoint of a server whose answers end too early."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), CutShort) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("operation", READS)
def test_an_answer_cut_short_is_never_taken_for_the_whole(
    cut_short: str, tmp_path: Path, operation: str
) -> None:
    with pytest.raises(ServiceUnavailableError):
        OPERATIONS[operation](store_at(cut_short), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("InternalError", 500, ServiceUnavailableError),
        ("SlowDown", 503, ServiceUnavailableError),
        ("RequestTimeout", 400, ServiceUnavailableError),
        ("TooManyRequests", 429, ServiceUnavailableError),
        ("AccessDenied", 403, ConfigurationError),
        ("NoSuchBucket", 404, ConfigurationError),
        ("NoSuchKey", 404, ArtifactError),
        ("BadDigest", 400, PermanentError),
        ("MethodNotAllowed", 405, PermanentError),
    ],
)
def test_an_answer_says_whether_another_try_may_help(
    code: str, status: int, kind: type[RecsysError]
) -> None:
    client = boto3.client("s3", region_name="us-east-1")
    with Stubber(client) as stub:
        stub.add_client_error("put_object", service_error_code=code, http_status_code=status)
        with pytest.raises(RecsysError) as failure:
            ObjectStore(client, "bucket").put_bytes("key", b"x")
    assert type(failure.value) is kind


# --- settings that make no sense ---


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({"endpoint": "nonsense"}, "nonsense"),
        ({"endpoint": "http://"}, "http://"),
        ({"region": "not a region"}, "not a region"),
        ({"secret_key": None}, "aws_secret_access_key"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], found: str
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="S3 settings are invalid") as failure:
        store_at(**wrong)
    assert found in str(failure.value.found)
    assert "hush" not in str(failure.value)


def test_a_name_that_no_bucket_can_have_is_permanent() -> None:
    with pytest.raises(ConfigurationError, match="bucket's name"):
        store_at(bucket="no bucket!").check()


def test_no_credentials_at_all_are_asked_for_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    store = store_at(access_key=None, secret_key=None)
    with pytest.raises(ConfigurationError, match="no credentials") as failure:
        store.check()
    assert "AWS_SECRET_ACCESS_KEY" in str(failure.value.expected)
