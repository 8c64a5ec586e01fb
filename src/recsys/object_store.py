"""The object store: whole, checked reads and writes on any S3 server.

Correctness never leans on bucket versioning or conditional writes, because servers differ.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys.errors import (
    ArtifactError,
    ConfigurationError,
    PermanentError,
    ServiceUnavailableError,
    TransientError,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_PART = 8 << 20
"""boto3 sends what is at least so large in parts."""
_NOT_FOUND = {"404", "NoSuchKey", "NotFound"}
_BUSY = {408, 429}
_REFUSED = {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}


class S3Settings(BaseSettings):
    """Where the object store is; environment: ``RECSYS_S3_*`` and ``AWS_*`` for the secrets."""

    # Compose and Kubernetes pass unset variables as empty strings; a rejected value may be secret.
    model_config = SettingsConfigDict(
        env_prefix="RECSYS_S3_",
        env_ignore_empty=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    bucket: str = Field(min_length=3)
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: SecretStr | None = Field(default=None, validation_alias="AWS_ACCESS_KEY_ID")
    secret_key: SecretStr | None = Field(default=None, validation_alias="AWS_SECRET_ACCESS_KEY")
    max_attempts: int = Field(default=8, ge=1, description="tries of one request, with backoff")


@dataclass(frozen=True)
class StoredObject:
    """What the store says of an object.

    Attributes:
        key: where it is.
        size: bytes.
        metadata: user metadata, lower-case names.
    """

    key: str
    size: int
    metadata: dict[str, str]


def file_sha256(path: Path) -> str:
    """sha256 of a file as 64 hex digits, in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ObjectStore:
    """One bucket of an S3 server.

    Args:
        client: a boto3 S3 client.
        bucket: the bucket's name.
    """

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    @classmethod
    def connect(cls, settings: S3Settings) -> ObjectStore:
        """Makes a store from settings; opens no connection yet.

        Raises:
            ConfigurationError: the settings make no sense.
        """
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        try:
            client = boto3.client(
                "s3",
                endpoint_url=settings.endpoint,
                region_name=settings.region,
                aws_access_key_id=(
                    settings.access_key.get_secret_value() if settings.access_key else None
                ),
                aws_secret_access_key=(
                    settings.secret_key.get_secret_value() if settings.secret_key else None
                ),
                config=Config(
                    retries={"mode": "standard", "total_max_attempts": settings.max_attempts},
                    connect_timeout=5,
                    read_timeout=60,
                    s3={"addressing_style": "path" if settings.endpoint else "auto"},
                ),
            )
        except (BotoCoreError, ValueError) as error:
            raise ConfigurationError(
                "the S3 settings make no sense",
                found=str(error),
                hint="correct RECSYS_S3_* and AWS_*, or the connection recsys_s3",
            ) from error
        return cls(client, settings.bucket)

    def check(self) -> None:
        """Raises unless the bucket answers and the credentials are good for it."""
        from botocore.exceptions import ClientError

        with self._errors("the bucket"):
            try:
                self._client.head_bucket(Bucket=self.bucket)
            except ClientError as error:
                # The answer to a HEAD has no body that could say NoSuchBucket.
                if error.response.get("Error", {}).get("Code") in _NOT_FOUND:
                    raise self._no_bucket() from error
                raise

    def put_bytes(self, key: str, data: bytes, metadata: dict[str, str] | None = None) -> None:
        """Writes an object whole; the server verifies its sha256."""
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        with self._errors(key):
            self._client.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=data,
                ChecksumSHA256=digest,
                Metadata=metadata or {},
            )

    def put_file(
        self,
        key: str,
        path: Path,
        metadata: dict[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Uploads a file, in parts where it is large; it becomes visible whole or not at all.

        Args:
            key: where it goes.
            path: the file.
            metadata: user metadata.
            progress: told how many bytes were sent since it was last told, on any thread.
        """
        with self._errors(key):
            self._client.upload_file(
                str(path),
                self.bucket,
                key,
                ExtraArgs={"Metadata": metadata or {}, "ChecksumAlgorithm": "SHA256"},
                Callback=progress,
            )
        if path.stat().st_size >= _PART:
            self._abort_uploads(key)

    def _abort_uploads(self, key: str) -> None:
        """Frees the parts that an uploader left behind which was killed; nobody sees them.

        One that is still at work (a task whose heartbeat was lost) sends the same bytes again: it
        fails, and finds the object when it tries again.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = self._client.list_multipart_uploads(Bucket=self.bucket, Prefix=key)
            for upload in found.get("Uploads", []):
                if upload["Key"] == key:
                    self._client.abort_multipart_upload(
                        Bucket=self.bucket, Key=key, UploadId=upload["UploadId"]
                    )
        except (BotoCoreError, ClientError) as error:
            # The object is there. Not every account may list uploads; a lifecycle rule does it too.
            log.warning("parts of broken uploads of %s may be left: %s", key, error)

    def get_bytes(self, key: str) -> bytes:
        """Reads an object whole.

        Raises:
            ArtifactError: there is no such object.
        """
        with self._errors(key):
            return self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def chunks(self, key: str, start: int = 0) -> Iterator[bytes]:
        """Reads an object piece by piece, from the byte ``start`` on.

        Raises:
            ArtifactError: there is no such object.
        """
        with self._errors(key):
            # Not "bytes=0-" from the start: an empty object has no byte 0, and that is an error.
            answer = (
                self._client.get_object(Bucket=self.bucket, Key=key, Range=f"bytes={start}-")
                if start
                else self._client.get_object(Bucket=self.bucket, Key=key)
            )
            yield from answer["Body"].iter_chunks(_CHUNK)

    def download(self, key: str, path: Path, sha256: str | None = None) -> None:
        """Downloads to ``path``, which appears whole and checked or not at all.

        Args:
            key: the object.
            path: the file to make; its folder must exist.
            sha256: 64 hex digits that the content must have.

        Raises:
            ArtifactError: there is no such object, or its sha256 differs.
        """
        partial = path.with_name(path.name + ".partial")
        digest = hashlib.sha256()
        try:
            with partial.open("wb") as file:
                for chunk in self.chunks(key):
                    digest.update(chunk)
                    file.write(chunk)
            if sha256 is not None and digest.hexdigest() != sha256:
                raise ArtifactError(
                    f"{key} is not the file that was stored",
                    found=f"sha256 {digest.hexdigest()}",
                    expected=f"sha256 {sha256}",
                    hint="the object was changed or damaged; restore it or roll back",
                )
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def sha256(self, key: str) -> str:
        """sha256 of an object's content as the store gives it, 64 hex digits."""
        digest = hashlib.sha256()
        for chunk in self.chunks(key):
            digest.update(chunk)
        return digest.hexdigest()

    def head(self, key: str) -> StoredObject | None:
        """What the store says of an object, or None if there is none."""
        from botocore.exceptions import ClientError

        with self._errors(key):
            try:
                answer = self._client.head_object(Bucket=self.bucket, Key=key)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in _NOT_FOUND:
                    return None
                raise
        return StoredObject(key, answer["ContentLength"], answer["Metadata"])

    def copy(self, source: str, target: str, metadata: dict[str, str]) -> None:
        """Copies an object within the bucket, replacing its user metadata."""
        with self._errors(source):
            self._client.copy_object(
                Bucket=self.bucket,
                Key=target,
                CopySource={"Bucket": self.bucket, "Key": source},
                Metadata=metadata,
                MetadataDirective="REPLACE",
            )

    def keys(self, prefix: str) -> list[str]:
        """All keys below a prefix, sorted (servers list in orders of their own)."""
        found: list[str] = []
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix
            )
            for page in pages:
                found.extend(item["Key"] for item in page.get("Contents", []))
        return sorted(found)

    def delete(self, keys: list[str]) -> None:
        """Deletes objects; one that is gone already is no error."""
        for key in keys:
            with self._errors(key):
                self._client.delete_object(Bucket=self.bucket, Key=key)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turns the client's errors into the domain's."""
        from boto3.exceptions import S3UploadFailedError
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            NoCredentialsError,
            ParamValidationError,
        )

        try:
            yield
        except ClientError as error:
            raise self._translate(error, what) from error
        except NoCredentialsError as error:
            raise ConfigurationError(
                "no credentials for S3",
                expected="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the connection recsys_s3",
            ) from error
        except ParamValidationError as error:
            raise ConfigurationError(
                f"no request for {what} can be made",
                found=str(error),
                hint="correct the bucket's name in the settings",
            ) from error
        except BotoCoreError as error:
            raise self._unavailable(str(error)) from error
        except S3UploadFailedError as error:
            # upload_file hides the server's answer in an error of its own.
            raise self._translate(error.__context__, what) from error

    def _translate(self, error: object, what: str) -> PermanentError | TransientError:
        response = getattr(error, "response", {})
        code = str(response.get("Error", {}).get("Code", ""))
        status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code == "NoSuchBucket":
            return self._no_bucket()
        if code in _NOT_FOUND:
            return ArtifactError(f"there is no {what} in the bucket {self.bucket}")
        if code in _REFUSED:
            return ConfigurationError(
                f"S3 refused the credentials for {what}",
                found=code,
                hint="check the access key, its secret and the bucket's policy",
            )
        if status >= 500 or status in _BUSY or code in {"SlowDown", "RequestTimeout"}:
            return self._unavailable(f"{code} (HTTP {status})")
        return PermanentError(f"S3 refused a request for {what}", found=f"{code} (HTTP {status})")

    def _no_bucket(self) -> ConfigurationError:
        return ConfigurationError(
            "the bucket does not exist",
            found=self.bucket,
            hint="create it, or correct the bucket's name in the settings",
        )

    def _unavailable(self, found: str) -> ServiceUnavailableError:
        return ServiceUnavailableError(
            "S3 does not answer",
            found=found,
            expected=f"an answer from {self._client.meta.endpoint_url}",
            hint="start it, or correct the endpoint; `recsys doctor` tells which server is down",
        )
