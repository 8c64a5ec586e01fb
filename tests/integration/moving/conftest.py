"""Two sets of servers: an old one with releases, and a new one with nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from recsys import moving
from recsys.database import PostgresSettings
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from recsys.releases import promote_release, request_erasure, roll_back
from recsys.services import Services
from tests.actors import an_actor
from tests.conftest import fresh_bucket, fresh_database
from tests.release_maker import Releases


@pytest.fixture(scope="module")
def old(postgres_server: Postgres, s3_server: S3) -> Iterator[Services]:
    """A champion, one before it, one that was rolled back, a candidate, and a pending erasure."""
    with fresh_database(postgres_server) as dsn, fresh_bucket(s3_server) as s3:
        services = Services(postgres=PostgresSettings(dsn=SecretStr(dsn)), s3=s3)
        makes = Releases(services)
        ids = []
        for number in (1, 2, 3):
            ids.append(makes.candidate(number))
            promote_release(services, ids[-1], actor=an_actor())
        roll_back(services, ids[1], actor=an_actor())
        makes.candidate(4)
        request_erasure(services, [1], actor=an_actor())
        yield services


@pytest.fixture(scope="module")
def exported(old: Services, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is exported of the old ones. Tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("exported") / "out"
    moving.export_recommender(old, folder, lambda done, total: None)
    return folder


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    """A copy of the export, which a test may change."""
    return shutil.copytree(exported, tmp_path / "copy")


@pytest.fixture
def new(postgres_server: Postgres, s3_server: S3) -> Iterator[Services]:
    """Another database and bucket, with nothing in them."""
    with fresh_database(postgres_server) as dsn, fresh_bucket(s3_server) as s3:
        yield Services(postgres=PostgresSettings(dsn=SecretStr(dsn)), s3=s3)
