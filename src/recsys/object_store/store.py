"""The object store: complete, verified reads and writes on any S3 server.

Nothing here depends on bucket versioning or conditional writes, because not all servers have them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from recsys.errors import ArtifactError
from recsys.object_store.client import open_client
from recsys.object_store.errors import NOT_FOUND, S3Errors
from recsys.object_store.objects import ListedObject, StoredContent, StoredObject
from recsys.object_store.settings import S3Settings
from recsys.object_store.uploads import upload_bytes, upload_file

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CHUNK = 1 << 20
_EXISTS = {409, 412}
_NOT_IMPLEMENTED = {400, 501}


class ObjectStore:
    """One recommender's objects in a bucket of an S3 server.

    All keys that its methods take and return are relative to the prefix.

    Args:
        client: a boto3 S3 client.
        bucket: the bucket's name.
        prefix: prefix of all keys in the bucket, "" or with a slash at its end.
    """

    def __init__(self, client: S3Client, bucket: str, prefix: str = "") -> None:
        self._client = client
        self.bucket = bucket
        self.prefix = prefix

    @property
    def location(self) -> str:
        """The bucket's name, followed by the prefix if there is one, for messages."""
        return f"{self.bucket}/{self.prefix}" if self.prefix else self.bucket

    def url(self, key: str) -> str:
        """Returns the address of an object, ``s3://bucket/prefix/key``."""
        return f"s3://{self.bucket}/{self.prefix}{key}"

    @classmethod
    def connect(cls, settings: S3Settings) -> ObjectStore:
        """Creates a store from settings; opens no connection yet.

        Raises:
            ConfigurationError: the settings are invalid.
        """
        return cls(open_client(settings), settings.bucket, settings.prefix)

    def check(self) -> None:
        """Raises an error unless the bucket exists and the credentials give access to it."""
        from botocore.exceptions import ClientError

        with self._errors("the bucket"):
            try:
                self._client.head_bucket(Bucket=self.bucket)
            except ClientError as error:
                # The response to a HEAD has no body, so no error code NoSuchBucket.
                if error.response.get("Error", {}).get("Code") in NOT_FOUND:
                    raise self._translation.no_bucket() from error
                raise

    def put_bytes(self, key: str, data: bytes, metadata: dict[str, str] | None = None) -> None:
        """Writes an object atomically and verifies what was stored.

        Raises:
            ConfigurationError, TransientError: see `put_file`.
        """
        with self._errors(self._full(key)):
            upload_bytes(self._client, self.bucket, self._full(key), data, metadata or {})

    def create_bytes(self, key: str, data: bytes) -> bool:
        """Writes an object if there is none; returns False if there is one.

        Servers without conditional writes are asked first, so that two writers at the same moment
        may both write there: read the object afterwards.
        """
        from botocore.exceptions import ClientError

        with self._errors(self._full(key)):
            if self.head(key) is not None:
                return False
            try:
                upload_bytes(self._client, self.bucket, self._full(key), data, {}, only_new=True)
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

        Raises:
            ConfigurationError: the server stored the framing of the checksums with the content.
            TransientError: the server stored other bytes than were sent.
        """
        with self._errors(self._full(key)):
            upload_file(self._client, self.bucket, self._full(key), path, metadata or {}, progress)

    def get_bytes(self, key: str) -> bytes:
        """Reads a whole object.

        Raises:
            ArtifactError: there is no such object.
        """
        with self._errors(self._full(key)):
            return self._client.get_object(Bucket=self.bucket, Key=self._full(key))["Body"].read()

    def find_bytes(self, key: str) -> bytes | None:
        """Reads a whole object; None if there is no such object."""
        try:
            return self.get_bytes(key)
        except ArtifactError:
            return None

    def find_content(self, key: str) -> StoredContent | None:
        """Reads an object with one request; None if it does not exist."""
        digest = hashlib.sha256()
        with self._errors(self._full(key)):
            try:
                answer = self._client.get_object(Bucket=self.bucket, Key=self._full(key))
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
        with self._errors(self._full(key)):
            # No "bytes=0-": for an empty object that range is an error.
            answer = (
                self._client.get_object(
                    Bucket=self.bucket, Key=self._full(key), Range=f"bytes={start}-"
                )
                if start
                else self._client.get_object(Bucket=self.bucket, Key=self._full(key))
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

    def holds(self, key: str, sha256: str) -> bool:
        """Returns whether an object exists and has this sha256, by reading it."""
        found = self.find_content(key)
        return found is not None and found.sha256 == sha256

    def head(self, key: str) -> StoredObject | None:
        """Returns the properties of an object, or None if it does not exist."""
        from botocore.exceptions import ClientError

        with self._errors(self._full(key)):
            try:
                answer = self._client.head_object(Bucket=self.bucket, Key=self._full(key))
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in NOT_FOUND:
                    return None
                raise
        return StoredObject(key, answer["ContentLength"], answer["Metadata"])

    def copy(self, source: str, target: str, metadata: dict[str, str]) -> None:
        """Copies an object within the bucket, replacing its user metadata."""
        with self._errors(self._full(source)):
            self._client.copy_object(
                Bucket=self.bucket,
                Key=self._full(target),
                CopySource={"Bucket": self.bucket, "Key": self._full(source)},
                Metadata=metadata,
                MetadataDirective="REPLACE",
            )

    def keys(self, prefix: str) -> list[str]:
        """Returns all keys with a prefix, sorted; servers list them in different orders."""
        return [listed.key for listed in self.objects(prefix)]

    def objects(self, prefix: str) -> list[ListedObject]:
        """Returns all objects with a prefix, sorted by key; 1000 with one request."""
        found: list[ListedObject] = []
        with self._errors(self._full(prefix)):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self._full(prefix)
            )
            for page in pages:
                found.extend(
                    ListedObject(
                        item["Key"].removeprefix(self.prefix), item["Size"], item["LastModified"]
                    )
                    for item in page.get("Contents", [])
                )
        return sorted(found, key=lambda listed: listed.key)

    def delete(self, keys: list[str]) -> None:
        """Deletes objects; a key that does not exist is not an error."""
        for key in keys:
            with self._errors(self._full(key)):
                self._client.delete_object(Bucket=self.bucket, Key=self._full(key))

    def _full(self, key: str) -> str:
        return self.prefix + key

    @property
    def _translation(self) -> S3Errors:
        return S3Errors(self.bucket, self._client.meta.endpoint_url)

    def _errors(self, what: str) -> AbstractContextManager[None]:
        return self._translation.translated(what)
