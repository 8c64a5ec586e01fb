"""The object store with a real S3 server, and with servers that fail."""

from __future__ import annotations

import hashlib
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
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


# --- reading and writing ---


@pytest.mark.parametrize("data", CONTENTS.values(), ids=CONTENTS)
def test_every_way_of_reading_returns_what_was_written(
    object_store: ObjectStore, tmp_path: Path, data: bytes
) -> None:
    original, downloaded = tmp_path / "original", tmp_path / "downloaded"
    original.write_bytes(data)
    object_store.put_bytes("bytes", data)
    object_store.put_file("file", original)
    for key in ("bytes", "file"):
        assert object_store.get_bytes(key) == data
        assert b"".join(object_store.chunks(key)) == data
        assert object_store.sha256(key) == sha256(data)
        assert object_store.head(key) == StoredObject(key, len(data), {})
        object_store.download(key, downloaded, sha256(data))
        assert downloaded.read_bytes() == data
        assert file_sha256(downloaded) == sha256(data)


def test_writing_again_replaces_content_and_metadata(object_store: ObjectStore) -> None:
    object_store.put_bytes("key", b"longer than the next", {"release-id": "old", "sha256": "x"})
    object_store.put_bytes("key", b"short", {"release-id": "new"})
    assert object_store.get_bytes("key") == b"short"
    assert object_store.head("key") == StoredObject("key", 5, {"release-id": "new"})


def test_reading_can_start_at_an_offset(object_store: ObjectStore) -> None:
    object_store.put_bytes("key", b"0123456789")
    assert b"".join(object_store.chunks("key", 7)) == b"789"


def test_a_copy_has_the_content_and_its_own_metadata(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    (tmp_path / "model").write_bytes(b"model")
    object_store.put_file("releases/a/model", tmp_path / "model", {"release-id": "a", "more": "x"})
    object_store.copy("releases/a/model", "public", {"release-id": "b"})
    assert object_store.get_bytes("public") == b"model"
    assert object_store.head("public") == StoredObject("public", 5, {"release-id": "b"})
    before = object_store.head("releases/a/model")
    assert before == StoredObject("releases/a/model", 5, {"release-id": "a", "more": "x"})


def test_keys_with_a_prefix_are_listed_in_order(object_store: ObjectStore) -> None:
    keys = ["a/2", "a/10", "a/1", "a/b/c", "a", "ab/1", "A/1"]
    for key in keys:
        object_store.put_bytes(key, b"x")
    assert object_store.keys("a/") == ["a/1", "a/10", "a/2", "a/b/c"]
    assert object_store.keys("") == sorted(keys)
    assert object_store.keys("none/") == []


def test_only_the_given_keys_are_deleted_and_missing_ones_are_ignored(
    object_store: ObjectStore,
) -> None:
    for key in ("a/1", "a/2", "a/20"):
        object_store.put_bytes(key, b"x")
    object_store.delete(["a/2", "a/none"])
    object_store.delete(["a/2"])
    object_store.delete([])
    assert object_store.keys("") == ["a/1", "a/20"]
    assert object_store.head("a/2") is None


# --- missing or changed objects, and servers that fail ---


@pytest.mark.parametrize("before", [None, b"earlier download"])
def test_a_download_with_another_sha256_changes_no_file(
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
def test_the_error_names_the_missing_object(
    object_store: ObjectStore, tmp_path: Path, operation: str
) -> None:
    with pytest.raises(ArtifactError, match=f"no key in the bucket {object_store.bucket}"):
        OPERATIONS[operation](object_store, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def any_bucket(s3_server: S3) -> Iterator[S3Settings]:
    """A bucket for tests that cannot write to it."""
    with fresh_bucket(s3_server) as settings:
        yield settings


@every_operation
@pytest.mark.parametrize("wrong", ["access_key", "secret_key"])
def test_wrong_credentials_are_a_permanent_error_with_a_hint(
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


# The response to a HEAD does not tell whether bucket or object is missing; nor may a DELETE.
@pytest.mark.parametrize("operation", sorted(set(OPERATIONS) - {"head", "delete"}))
def test_the_error_names_the_missing_bucket(
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
    """An endpoint without a server; its port is reserved."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def store_at(endpoint: str = "http://127.0.0.1:9", **changes: Any) -> ObjectStore:
    values = {"bucket": "bucket", "endpoint": endpoint, "access_key": "id", "secret_key": "hush"}
    return ObjectStore.connect(S3Settings.model_validate({**values, "max_attempts": 1, **changes}))


@every_operation
def test_an_unreachable_server_is_a_transient_error_with_its_address(
    no_server: str, tmp_path: Path, operation: str
) -> None:
    with pytest.raises(ServiceUnavailableError, match="S3 does not answer") as failure:
        OPERATIONS[operation](store_at(no_server), tmp_path)
    assert no_server in str(failure.value.found)
    assert failure.value.expected == f"an answer from {no_server}"
    assert "recsys doctor" in failure.value.hint
    assert list(tmp_path.iterdir()) == []


class CutShort(socketserver.StreamRequestHandler):
    """Announces 100 bytes, sends 10 and closes the connection."""

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")


@pytest.fixture
def cut_short() -> Iterator[str]:
    """The endpoint of a server whose responses are incomplete."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), CutShort) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("operation", READS)
def test_an_incomplete_response_is_an_error(cut_short: str, tmp_path: Path, operation: str) -> None:
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
def test_error_codes_decide_whether_an_error_is_transient(
    code: str, status: int, kind: type[RecsysError]
) -> None:
    client = boto3.client("s3", region_name="us-east-1")
    with Stubber(client) as stub:
        stub.add_client_error("put_object", service_error_code=code, http_status_code=status)
        with pytest.raises(RecsysError) as failure:
            ObjectStore(client, "bucket").put_bytes("key", b"x")
    assert type(failure.value) is kind


@pytest.mark.parametrize("hours", [-1, 1])
@pytest.mark.parametrize("operation", ["get", "head"])
def test_a_clock_that_is_an_hour_off_is_named(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch, hours: int, operation: str
) -> None:
    object_store.put_bytes("key", b"x")
    real, shift = time.time, 3600 * hours

    def wrong_time(*, remove_tzinfo: bool = True) -> datetime:
        now = datetime.fromtimestamp(real() + shift, UTC)
        return now.replace(tzinfo=None) if remove_tzinfo else now

    monkeypatch.setattr("botocore.auth.get_current_datetime", wrong_time)
    monkeypatch.setattr(time, "time", lambda: real() + shift)
    with pytest.raises(ConfigurationError, match="the clocks of this machine") as failure:
        # The answer to a HEAD request has no body that could name the reason.
        object_store.get_bytes("key") if operation == "get" else object_store.head("key")
    assert ("ahead" if hours > 0 else "behind") in str(failure.value.found)


# --- invalid settings ---


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({"endpoint": "nonsense"}, "nonsense"),
        ({"endpoint": "http://"}, "http://"),
        ({"region": "not a region"}, "not a region"),
        ({"secret_key": None}, "aws_secret_access_key"),
    ],
)
def test_invalid_settings_are_rejected_before_a_request_is_sent(
    monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], found: str
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="S3 settings are invalid") as failure:
        store_at(**wrong)
    assert found in str(failure.value.found)
    assert "hush" not in str(failure.value)


def test_an_invalid_bucket_name_is_a_permanent_error() -> None:
    with pytest.raises(ConfigurationError, match="bucket's name"):
        store_at(bucket="no bucket!").check()


def test_missing_credentials_are_reported_with_their_variables(
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
