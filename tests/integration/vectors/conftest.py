"""A database with pgvector."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from recsys.database import Connection
from recsys.vectors import (
    enable_vector_extension,
)


@pytest.fixture
def conn(postgres_dsn: str) -> Iterator[Connection]:
    with Connection.connect(postgres_dsn, autocommit=True) as connection:
        enable_vector_extension(connection)
        yield connection
