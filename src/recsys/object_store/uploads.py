"""Uploading a file, and deleting what a killed upload left behind."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recsys.object_store.client import sends_checksums

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

_PART = 8 << 20
"""boto3 uploads files of at least this size in parts."""


def upload_file(
    client: S3Client,
    bucket: str,
    key: str,
    path: Path,
    metadata: Mapping[str, str],
    progress: Callable[[int], None] | None,
) -> None:
    """Uploads a file, in parts if it is large; the object appears complete or not at all."""
    arguments: dict[str, object] = {"Metadata": dict(metadata)}
    if sends_checksums(client):
        arguments["ChecksumAlgorithm"] = "SHA256"
    client.upload_file(str(path), bucket, key, ExtraArgs=arguments, Callback=progress)
    if path.stat().st_size >= _PART:
        _abort_uploads(client, bucket, key)


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
