"""PostgreSQL (ledger and vectors) and S3 (artifacts), used together by most steps."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from recsys import database
from recsys.database import PostgresSettings
from recsys.errors import ConfigurationError, first_invalid_field
from recsys.object_store import ObjectStore, S3Settings
from recsys.signing import PublicKey, read_public_keys


def _verification_keys() -> Path | None:
    name = os.environ.get("RECSYS_VERIFICATION_KEYS")
    return Path(name) if name else None


@dataclass(frozen=True)
class Services:
    """Settings of both servers. A connection is opened on use; the caller closes it.

    Attributes:
        postgres: the database.
        s3: the bucket.
        verification_keys: a file or folder with the public keys that releases must be signed with;
            by default ``RECSYS_VERIFICATION_KEYS``, so that no caller can forget it. None: releases
            need no signature.
    """

    postgres: PostgresSettings
    s3: S3Settings
    verification_keys: Path | None = field(default_factory=_verification_keys)

    @cached_property
    def trusted_keys(self) -> tuple[PublicKey, ...]:
        """The public keys; none if releases need no signature.

        Raises:
            ConfigurationError: a file contains something else than public keys.
        """
        if self.verification_keys is None:
            return ()
        return read_public_keys(self.verification_keys)

    @cached_property
    def store(self) -> ObjectStore:
        """The bucket that contains all artifacts."""
        return ObjectStore.connect(self.s3)

    def connect(self) -> AbstractContextManager[database.Connection]:
        """Opens a connection to the ledger in autocommit mode; it is closed on exit."""
        return database.connect(self.postgres)

    @classmethod
    def from_environment(cls) -> Services:
        """Reads ``RECSYS_PG_DSN``, ``RECSYS_S3_*`` and ``AWS_*``.

        Raises:
            ConfigurationError: a variable is missing or invalid.
        """
        try:
            return cls(PostgresSettings(), S3Settings.from_environment())
        except ValidationError as error:
            raise ConfigurationError(
                "the addresses of the servers are missing or invalid in the environment",
                found=f"{error.title}.{first_invalid_field(error)}",
                expected="RECSYS_PG_DSN, RECSYS_S3_BUCKET, RECSYS_S3_ENDPOINT, and AWS_* secrets",
                hint="set all of them, or none to use the embedded servers of this machine",
            ) from error
