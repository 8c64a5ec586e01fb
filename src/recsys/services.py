"""The two servers that hold everything: PostgreSQL (ledger and vectors) and S3 (artifacts)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

from recsys import ledger
from recsys.object_store import ObjectStore
from recsys.settings import PostgresSettings, S3Settings


@dataclass(frozen=True)
class Services:
    """Where the servers are; connections are made on use and closed by their user."""

    postgres: PostgresSettings
    s3: S3Settings

    @cached_property
    def store(self) -> ObjectStore:
        """The bucket with all artifacts."""
        return ObjectStore.connect(self.s3)

    def connect(self) -> AbstractContextManager[ledger.Connection]:
        """A new connection to the ledger in autocommit mode, closed on exit."""
        return ledger.connect(self.postgres)

    @classmethod
    def from_environment(cls) -> Services:
        """Reads ``RECSYS_PG_DSN``, ``RECSYS_S3_*`` and ``AWS_*``."""
        return cls(PostgresSettings(), S3Settings())
