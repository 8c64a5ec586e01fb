"""Uploads to S3 servers that refuse checksums and their trailers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

from recsys.errors import ArtifactError, ConfigurationError
from recsys.object_store import ObjectStore, S3Settings
from tests.s3_proxy import Headers, make_certificate, s3_proxy

PART = 8 << 20
"""boto3 uploads larger files in parts."""
CONTENTS = {"small": b"words", "parts": b"ab" * PART}


def put_bytes(store: ObjectStore, key: str, data: bytes, folder: Path) -> None:
    store.put_bytes(key, data, {"release-id": "a"})


def put_file(store: ObjectStore, key: str, data: bytes, folder: Path) -> None:
    (folder / "file").write_bytes(data)
    store.put_file(key, folder / "file", {"release-id": "a"})


def create_bytes(store: ObjectStore, key: str, data: bytes, folder: Path) -> None:
    assert store.create_bytes(key, data)


UPLOADS: dict[str, Callable[[ObjectStore, str, bytes, Path], None]] = {
    "put_bytes": put_bytes,
    "put_file": put_file,
    "create_bytes": create_bytes,
}
every_upload = pytest.mark.parametrize("upload", UPLOADS)


@dataclass
class Strict:
    """A proxy that refuses what some S3 servers do not know; it counts these requests."""

    status: int = 501
    refused: int = 0
    url: str = ""

    def look(self, method: str, path: str, headers: Headers) -> int | None:
        names = {name.lower() for name in headers}
        if (
            "aws-chunked" in headers.get("Content-Encoding", "")
            or "x-amz-trailer" in names
            or any(name.startswith(("x-amz-checksum-sha", "x-amz-checksum-crc")) for name in names)
            or "x-amz-sdk-checksum-algorithm" in names
        ):
            self.refused += 1
            return self.status
        return None


@pytest.fixture
def strict(
    s3_settings: S3Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Strict]:
    """A strict server with TLS: boto3 sends trailers over TLS only."""
    certificate = make_certificate(tmp_path / "certificate.pem")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    assert s3_settings.endpoint
    made = Strict()
    with s3_proxy(s3_settings.endpoint, made.look, certificate) as made.url:
        yield made


def through(strict: Strict, settings: S3Settings) -> ObjectStore:
    return ObjectStore.connect(settings.model_copy(update={"endpoint": strict.url}))


@every_upload
@pytest.mark.parametrize(("size", "status"), [("small", 400), ("parts", 501)])
def test_no_checksum_is_sent_if_boto_is_set_so(
    strict: Strict,
    s3_settings: S3Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    upload: str,
    size: str,
    status: int,
) -> None:
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    strict.status = status
    store = through(strict, s3_settings)
    UPLOADS[upload](store, "key", CONTENTS[size], tmp_path)
    assert strict.refused == 0
    digest = hashlib.sha256(CONTENTS[size]).hexdigest()
    assert store.sha256("key") == digest
    # Our own reads compare the digest.
    store.download("key", tmp_path / "read", digest)
    with pytest.raises(ArtifactError, match="has changed"):
        store.download("key", tmp_path / "read", "0" * 64)


def test_the_setting_may_come_from_a_file_of_aws(
    strict: Strict, s3_settings: S3Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[default]\nrequest_checksum_calculation = when_required\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    # A process reads the file once.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    store = through(strict, s3_settings)
    for upload in UPLOADS.values():
        upload(store, f"key/{upload.__name__}", b"words", tmp_path)
    assert strict.refused == 0
    assert len(store.keys("key/")) == len(UPLOADS)


@pytest.mark.parametrize("upload", ["put_bytes", "put_file"])
@pytest.mark.parametrize("status", [400, 501])
def test_without_the_setting_the_error_names_it(
    strict: Strict,
    s3_settings: S3Settings,
    tmp_path: Path,
    upload: str,
    status: int,
) -> None:
    strict.status = status
    store = through(strict, s3_settings)
    with pytest.raises(ConfigurationError, match="does not implement") as failure:
        UPLOADS[upload](store, "key", b"words", tmp_path)
    assert strict.refused >= 1
    assert failure.value.found == f"NotImplemented (HTTP {status})"
    assert "AWS_REQUEST_CHECKSUM_CALCULATION=when_required" in str(failure.value.hint)
    assert store.keys("") == []


def test_checksums_are_sent_by_default(
    s3_settings: S3Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the server verifies each upload."""
    certificate = make_certificate(tmp_path / "certificate.pem")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    seen: list[str] = []

    def look(method: str, path: str, headers: Headers) -> None:
        seen.extend(
            name.lower() if name.lower() != "x-amz-trailer" else value
            for name, value in headers.items()
            if name.lower().startswith(("x-amz-checksum-sha256", "x-amz-trailer"))
        )

    assert s3_settings.endpoint
    with s3_proxy(s3_settings.endpoint, look, certificate) as url:
        store = ObjectStore.connect(s3_settings.model_copy(update={"endpoint": url}))
        store.put_bytes("bytes", b"words")
        store.put_file("file", Path(__file__))
        assert store.get_bytes("bytes") == b"words"
        assert store.get_bytes("file") == Path(__file__).read_bytes()
    assert seen == ["x-amz-checksum-sha256"] * 2
