"""The object store: complete, verified reads and writes on any S3 server.

Nothing here depends on bucket versioning or conditional writes, because not all servers have them.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys.errors import (
    ArtifactError,
    ConfigurationError,
    PermanentError,
    ServiceUnavailableError,
    StalledError,
    TransientError,
    first_invalid_field,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_PART = 8 << 20
"""boto3 uploads files of at least this size in parts."""
_STALLED_ATTEMPTS = 2
_NOT_FOUND = {"404", "NoSuchKey", "NotFound"}
_BUSY = {408, 429}
_EXISTS = {409, 412}
_NOT_IMPLEMENTED = {400, 501}
_WITHOUT_CHECKSUMS = "set AWS_REQUEST_CHECKSUM_CALCULATION=when_required"
_REFUSED = {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}


class S3Settings(BaseSettings):
    """Address and credentials of the object store: ``RECSYS_S3_*`` and ``AWS_*``."""

    # Compose and Kubernetes pass unset variables as empty strings. A rejected value may be secret.
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
    max_attempts: int = Field(default=8, ge=1, description="maximum attempts per request")
    read_timeout: float = Field(
        default=20.0, gt=0, description="seconds without a byte after which an attempt has failed"
    )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> S3Settings:
        """Reads the settings from environment variables; empty ones count as unset.

        Args:
            environ: the variables; those of this process if not given.

        Raises:
            ConfigurationError: a variable is missing or invalid. The error does not show values.
        """
        try:
            return cls() if environ is None else cls.model_validate(cls._values(environ))
        except ValidationError as error:
            raise ConfigurationError(
                "the S3 settings are missing or invalid",
                found=f"{cls.__name__}.{first_invalid_field(error)}",
                expected="RECSYS_S3_BUCKET, RECSYS_S3_ENDPOINT, and AWS_* secrets",
                hint="set these environment variables, or correct the connection recsys_s3",
            ) from error

    @classmethod
    def _values(cls, environ: Mapping[str, str]) -> dict[str, object]:
        """All fields: pydantic would read missing ones from this process's environment."""
        values: dict[str, object] = {}
        for name, field in cls.model_fields.items():
            variable = str(field.validation_alias or f"RECSYS_S3_{name.upper()}")
            default = "" if field.is_required() else field.default
            values[name] = environ.get(variable) or default
        return values


@dataclass(frozen=True)
class StoredObject:
    """Properties of a stored object.

    Attributes:
        key: its key in the bucket.
        size: bytes.
        metadata: user metadata, with lower-case names.
    """

    key: str
    size: int
    metadata: dict[str, str]


@dataclass(frozen=True)
class StoredContent(StoredObject):
    """Properties of a stored object, and what its content is.

    Attributes:
        sha256: of the content, 64 hex digits.
    """

    sha256: str


def _stop_when_stalled(
    attempts: int, caught_exception: Exception | None = None, **_: object
) -> None:
    """Ends the attempts at a server that accepts requests and does not answer.

    boto3 would wait for the time limit of a read in each of its attempts, which are meant for
    servers that answer with an error.
    """
    from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

    if attempts >= _STALLED_ATTEMPTS and isinstance(
        caught_exception, ReadTimeoutError | ConnectTimeoutError
    ):
        raise caught_exception


def file_sha256(path: Path) -> str:
    """Computes the sha256 of a file, 64 hex digits, in constant memory."""
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
        """Creates a store from settings; opens no connection yet.

        Raises:
            ConfigurationError: the settings are invalid.
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
                    read_timeout=settings.read_timeout,
                    s3={"addressing_style": "path" if settings.endpoint else "auto"},
                ),
            )
        except (BotoCoreError, ValueError) as error:
            raise ConfigurationError(
                "the S3 settings are invalid",
                found=str(error),
                hint="correct RECSYS_S3_* and AWS_*, or the connection recsys_s3",
            ) from error
        client.meta.events.register_first("needs-retry.s3", _stop_when_stalled)
        return cls(client, settings.bucket)

    def check(self) -> None:
        """Raises an error unless the bucket exists and the credentials give access to it."""
        from botocore.exceptions import ClientError

        with self._errors("the bucket"):
            try:
                self._client.head_bucket(Bucket=self.bucket)
            except ClientError as error:
                # The response to a HEAD has no body, so no error code NoSuchBucket.
                if error.response.get("Error", {}).get("Code") in _NOT_FOUND:
                    raise self._no_bucket() from error
                raise

    def put_bytes(self, key: str, data: bytes, metadata: dict[str, str] | None = None) -> None:
        """Writes an object atomically; the server verifies its sha256 unless boto sends none."""
        metadata = metadata or {}
        with self._errors(key):
            if not self._sends_checksums:
                self._client.put_object(Bucket=self.bucket, Key=key, Body=data, Metadata=metadata)
                return
            self._client.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=data,
                ChecksumSHA256=base64.b64encode(hashlib.sha256(data).digest()).decode(),
                Metadata=metadata,
            )

    def create_bytes(self, key: str, data: bytes) -> bool:
        """Writes an object if there is none; returns False if there is one.

        Servers without conditional writes are asked first, so that two writers at the same moment
        may both write there: read the object afterwards.
        """
        from botocore.exceptions import ClientError

        with self._errors(key):
            if self.head(key) is not None:
                return False
            try:
                self._client.put_object(Bucket=self.bucket, Key=key, Body=data, IfNoneMatch="*")
            except ClientError as error:
                status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
                if status in _EXISTS:
                    return False
                if status not in _NOT_IMPLEMENTED:
                    raise
                self.put_bytes(key, data)
        return True

    def put_file(
        self,
        key: str,
        path: Path,
        metadata: dict[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Uploads a file, in parts if it is large; the object appears complete or not at all.

        Args:
            key: the key of the new object.
            path: the file.
            metadata: user metadata.
            progress: called with the bytes sent since its last call, on any thread.
        """
        arguments: dict[str, object] = {"Metadata": metadata or {}}
        if self._sends_checksums:
            arguments["ChecksumAlgorithm"] = "SHA256"
        with self._errors(key):
            self._client.upload_file(
                str(path), self.bucket, key, ExtraArgs=arguments, Callback=progress
            )
        if path.stat().st_size >= _PART:
            self._abort_uploads(key)

    @property
    def _sends_checksums(self) -> bool:
        """False if boto is set to send only required checksums, as for servers that know none."""
        # Set by AWS_REQUEST_CHECKSUM_CALCULATION or in a file of AWS; the stubs lack it.
        calculation = getattr(self._client.meta.config, "request_checksum_calculation", None)
        return calculation != "when_required"

    def _abort_uploads(self, key: str) -> None:
        """Deletes the invisible parts that a killed upload left behind.

        If another process is still uploading the same key (a task whose heartbeat was lost), its
        upload fails, and its retry finds the object.
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
            # The object is complete. Listing uploads needs a right that not every account has;
            # a lifecycle rule of the bucket can delete the parts, too.
            log.warning("parts of incomplete uploads of %s may remain: %s", key, error)

    def get_bytes(self, key: str) -> bytes:
        """Reads a whole object.

        Raises:
            ArtifactError: there is no such object.
        """
        with self._errors(key):
            return self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def find_bytes(self, key: str) -> bytes | None:
        """Reads a whole object; None if there is no such object."""
        try:
            return self.get_bytes(key)
        except ArtifactError:
            return None

    def find_content(self, key: str) -> StoredContent | None:
        """Reads an object with one request; None if it does not exist."""
        digest = hashlib.sha256()
        with self._errors(key):
            try:
                answer = self._client.get_object(Bucket=self.bucket, Key=key)
            except self._client.exceptions.NoSuchKey:
                return None
            for chunk in answer["Body"].iter_chunks(_CHUNK):
                digest.update(chunk)
        return StoredContent(key, answer["ContentLength"], answer["Metadata"], digest.hexdigest())

    def chunks(self, key: str, start: int = 0) -> Iterator[bytes]:
        """Reads an object in chunks, starting at byte ``start``.

        Raises:
            ArtifactError: there is no such object.
        """
        with self._errors(key):
            # No "bytes=0-": for an empty object that range is an error.
            answer = (
                self._client.get_object(Bucket=self.bucket, Key=key, Range=f"bytes={start}-")
                if start
                else self._client.get_object(Bucket=self.bucket, Key=key)
            )
            yield from answer["Body"].iter_chunks(_CHUNK)

    def download(self, key: str, path: Path, sha256: str | None = None) -> None:
        """Downloads an object to ``path``, which appears complete and verified or not at all.

        Args:
            key: the object.
            path: the new file; its folder must exist.
            sha256: the expected sha256, 64 hex digits.

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
                    f"{key} has changed since it was stored",
                    found=f"sha256 {digest.hexdigest()}",
                    expected=f"sha256 {sha256}",
                    hint="restore the object, or roll back to another release",
                )
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def sha256(self, key: str) -> str:
        """Computes the sha256 of an object's content, 64 hex digits, by reading it."""
        digest = hashlib.sha256()
        for chunk in self.chunks(key):
            digest.update(chunk)
        return digest.hexdigest()

    def head(self, key: str) -> StoredObject | None:
        """Returns the properties of an object, or None if it does not exist."""
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
        """Returns all keys with a prefix, sorted; servers list them in different orders."""
        found: list[str] = []
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix
            )
            for page in pages:
                found.extend(item["Key"] for item in page.get("Contents", []))
        return sorted(found)

    def delete(self, keys: list[str]) -> None:
        """Deletes objects; a key that does not exist is not an error."""
        for key in keys:
            with self._errors(key):
                self._client.delete_object(Bucket=self.bucket, Key=key)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Translates the errors of boto3 into those of the domain."""
        from boto3.exceptions import S3UploadFailedError
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            ConnectTimeoutError,
            NoCredentialsError,
            ParamValidationError,
            ReadTimeoutError,
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
                f"the request for {what} is invalid",
                found=str(error),
                hint="correct the bucket's name in the settings",
            ) from error
        except BotoCoreError as error:
            if isinstance(error, ReadTimeoutError | ConnectTimeoutError):
                raise StalledError(
                    "S3 accepts requests and does not answer",
                    found=str(error),
                    hint="look at the server and the network, then repeat the command",
                ) from error
            raise self._unavailable(str(error)) from error
        except S3UploadFailedError as error:
            # upload_file wraps the server's response in its own error; a second error while the
            # other parts are cancelled may come between.
            cause: BaseException | None = error
            while cause is not None and not hasattr(cause, "response"):
                cause = cause.__cause__ or cause.__context__
            if cause is None:
                raise self._unavailable(str(error)) from error
            raise self._translate(cause, what) from error

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
        if status == 501 or code == "NotImplemented":
            return ConfigurationError(
                f"the S3 server does not implement a request for {what}",
                found=f"{code} (HTTP {status})",
                hint=f"if it was an upload, {_WITHOUT_CHECKSUMS}",
            )
        if status >= 500 or status in _BUSY or code in {"SlowDown", "RequestTimeout"}:
            return self._unavailable(f"{code} (HTTP {status})")
        return PermanentError(
            f"S3 refused a request for {what}",
            found=f"{code} (HTTP {status})",
            hint=f"if the server knows no checksums, {_WITHOUT_CHECKSUMS}" if status == 400 else "",
        )

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
            hint="start it, or correct the endpoint; `recsys doctor` shows which server is down",
        )
