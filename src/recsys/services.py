"""The two servers that hold everything: PostgreSQL (ledger and vectors) and S3 (artifacts)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

from pydantic import ValidationError

from recsys import database
from recsys.database import PostgresSettings
from recsys.errors import ConfigurationError
from recsys.object_store import ObjectStore, S3Settings


@dataclass(frozen=True)
class Services:
    """Where the servers are; connections are made on use and closed by their user."""

    postgres: PostgresSettings
    s3: S3Settings

    @cached_property
    def store(self) -> ObjectStore:
        """The bucket with all artifacts."""
        return ObjectStore.connect(self.s3)

    def connect(self) -> AbstractContextManager[database.Connection]:
        """A new connection to the ledger in autocommit mode, closed on exit."""
        return database.connect(self.postgres)

    @classmethod
    def from_environment(cls) -> Services:
        """Reads ``RECSYS_PG_DSN``, ``RECSYS_S3_*`` and ``AWS_*``.

        Raises:
            ConfigurationError: a variable is missing or makes no sense.
        """
        try:
            return cls(PostgresSettings(), S3Settings())
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise ConfigurationError(
                "the environment does not say where the servers are",
                found=f"{error.title}.{'.'.join(map(str, first['loc']))}: {first['msg']}",
                expected="RECSYS_PG_DSN, RECSYS_S3_BUCKET, RECSYS_S3_ENDPOINT, and AWS_* secrets",
                hint="set them all, or none of them to use the servers of this machine",
            ) from error
