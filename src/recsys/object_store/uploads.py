"""Uploading, comparing what the server stored, and deleting what a killed upload left behind.

Some servers do not understand the framing of checksums (``aws-chunked``) and store it as content;
proxies lose bytes. Their answer is "done" all the same.
"""

from __future__ import annotations

import base64
import hashlib
import io
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from recsys.errors import ConfigurationError, TransientError
from recsys.object_store.client import sends_checksums
from recsys.object_store.errors import WITHOUT_CHECKSUMS

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_PART = 8 << 20
"""boto3 uploads files of at least this size in parts."""


def upload_bytes(
    client: S3Client,
    bucket: str,
    key: str,
    data: bytes,
    metadata: Mapping[str, str],
    *,
    only_new: bool = False,
) -> None:
    """Writes an object atomically and verifies what was stored.

    Args:
        client: a boto3 client.
        bucket: its bucket.
        key: the object.
        data: the content.
        metadata: user metadata.
        only_new: whether the server refuses to overwrite an object.

    Raises:
        ConfigurationError, TransientError: see `upload_file`.
    """
    arguments: dict[str, str] = {"IfNoneMatch": "*"} if only_new else {}
    if sends_checksums(client):
        arguments["ChecksumSHA256"] = base64.b64encode(hashlib.sha256(data).digest()).decode()
    answer = client.put_object(
        Bucket=bucket,
        Key=key,
        Body=data,
        Metadata=dict(metadata),
        **arguments,  # type: ignore[arg-type]  # the stubs list each keyword
    )
    if not _is_etag_of(answer.get("ETag", ""), io.BytesIO(data)):
        _verify(client, bucket, key, io.BytesIO(data))


def upload_file(
    client: S3Client,
    bucket: str,
    key: str,
    path: Path,
    metadata: Mapping[str, str],
    progress: Callable[[int], None] | None,
) -> None:
    """Uploads a file, in parts if it is large, and verifies what was stored.

    The object appears complete or not at all.

    Raises:
        ConfigurationError: the server stored the framing of the checksums with the content.
        TransientError: the server stored other bytes than were sent.
    """
    arguments: dict[str, object] = {"Metadata": dict(metadata)}
    if sends_checksums(client):
        arguments["ChecksumAlgorithm"] = "SHA256"
    client.upload_file(str(path), bucket, key, ExtraArgs=arguments, Callback=progress)
    if path.stat().st_size >= _PART:
        _abort_uploads(client, bucket, key)
    with path.open("rb") as file:
        try:
            _verify(client, bucket, key, file)
        except (ConfigurationError, TransientError):
            # Its metadata says that it is whole.
            client.delete_object(Bucket=bucket, Key=key)
            raise


def _verify(client: S3Client, bucket: str, key: str, sent: BinaryIO) -> None:
    """Compares an object with what was sent: its size, and its md5 if the ETag is one.

    The ETag is not an md5 on all servers, nor for encrypted objects: these are read back.
    """
    size = sent.seek(0, io.SEEK_END)
    head = client.head_object(Bucket=bucket, Key=key)
    if head["ContentLength"] == size:
        if _is_etag_of(head.get("ETag", ""), sent):
            return
        sent.seek(0)
        stored = client.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(_CHUNK)
        if _sha256(stored) == _sha256(iter(lambda: sent.read(_CHUNK), b"")):
            return
    message = f"the S3 server stored other bytes than were sent as {key}"
    found, expected = f"{head['ContentLength']} bytes", f"{size} bytes"
    if head["ContentLength"] > size and sends_checksums(client):
        raise ConfigurationError(
            message,
            found=f"{found}: it does not understand the framing of checksums (aws-chunked)",
            expected=expected,
            hint=WITHOUT_CHECKSUMS,
        )
    raise TransientError(
        message,
        found=f"{found}, with other content" if head["ContentLength"] == size else found,
        expected=expected,
        hint="look at the server and the proxies before it, then repeat the upload",
    )


def _sha256(chunks: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.digest()


def _is_etag_of(etag: str, content: BinaryIO) -> bool:
    """Whether a server without encryption gives this content this ETag.

    An ETag with the number of parts is the md5 of the parts' md5s, else it is the content's md5.
    """
    etag = etag.strip('"')
    size = content.seek(0, io.SEEK_END)
    if "-" not in etag:
        return _md5(content, 0, size).hex() == etag
    digests = [_md5(content, begin, begin + _PART) for begin in range(0, size, _PART)]
    joined = hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest()
    return etag == f"{joined}-{len(digests)}"


def _md5(content: BinaryIO, begin: int, end: int) -> bytes:
    """Returns the md5 of a range, which is read in chunks: whole parts would take much memory."""
    digest = hashlib.md5(usedforsecurity=False)
    content.seek(begin)
    while chunk := content.read(min(_CHUNK, end - content.tell())):
        digest.update(chunk)
    return digest.digest()


def _abort_uploads(client: S3Client, bucket: str, key: str) -> None:
    """Deletes the invisible parts that a killed upload left behind.

    If another process is still uploading the same key (a task whose heartbeat was lost), its
    upload fails, and its retry finds the object.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        found = client.list_multipart_uploads(Bucket=bucket, Prefix=key)
        for upload in found.get("Uploads", []):
            if upload["Key"] == key:
                client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload["UploadId"])
    except (BotoCoreError, ClientError) as error:
        # The object is complete. Listing uploads needs a right that not every account has;
        # a lifecycle rule of the bucket can delete the parts, too.
        log.warning("parts of incomplete uploads of %s may remain: %s", key, error)
