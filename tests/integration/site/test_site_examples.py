"""Runs the code in docs/site-developer.md against a promoted release."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from recsys.database import PostgresSettings
from recsys.object_store import S3Settings
from recsys.releases import promote_release
from recsys.services import Services
from tests.actors import an_actor
from tests.release_maker import Releases


@pytest.fixture
def services(prepared_dsn: str, s3_settings: S3Settings) -> Services:
    made = Services(postgres=PostgresSettings(dsn=SecretStr(prepared_dsn)), s3=s3_settings)
    promote_release(made, Releases(made).candidate(1), actor=an_actor())
    return made


def blocks(repository: Path, language: str) -> list[str]:
    text = (repository / "docs/site-developer.md").read_text()
    found = re.findall(rf"<!-- tested: {language} -->\n```{language}\n(.*?)```", text, re.DOTALL)
    assert found
    return found


def test_the_queries_run(services: Services, repository: Path) -> None:
    statements = [
        statement
        for block in blocks(repository, "sql")
        for statement in block.split(";")
        if statement.strip()
    ]
    assert len(statements) == 6
    with services.connect() as conn:
        conn.execute("set search_path to default")
        cursors = [conn.execute(statement) for statement in statements]
        neighbors, recommended, liked, current = (c.fetchall() for c in cursors if c.description)
    assert len(neighbors) == 10
    assert len(recommended) == 10
    assert 1 not in {movie for movie, _ in recommended}, "user 1 has seen movie 1"
    scores = [score for _, score in recommended]
    assert scores == sorted(scores, reverse=True)
    cosines = [cosine for _, cosine in liked]
    assert cosines == sorted(cosines, reverse=True)
    assert len(liked) == 10
    assert not {1, 6, 50} & {movie for movie, _ in liked}
    assert len(current) == 1


def test_the_code_for_the_public_model_runs(services: Services, repository: Path) -> None:
    code, _ = blocks(repository, "python")
    [size] = output_of(services, code + "\nprint(len(model))")
    assert int(size) == len(Releases(services).model_bytes(1))


def test_the_code_for_the_matching_pair_runs(services: Services, repository: Path) -> None:
    _, code = blocks(repository, "python")
    release_id, neighbors, size = output_of(
        services, code + "\nprint(release_id, len(neighbors), len(model))"
    )
    releases = Releases(services)
    assert release_id == releases.build(1).release_id
    assert (int(neighbors), int(size)) == (5, len(releases.model_bytes(1)))


def output_of(services: Services, code: str) -> list[str]:
    """The words that the code prints, run with the services' addresses in its environment."""
    s3 = services.s3
    assert s3.access_key is not None
    assert s3.secret_key is not None
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            "PATH": os.environ["PATH"],
            "RECSYS_PG_DSN": services.postgres.dsn.get_secret_value(),
            "RECSYS_S3_BUCKET": s3.bucket,
            "RECSYS_S3_ENDPOINT": s3.endpoint or "",
            "AWS_ACCESS_KEY_ID": s3.access_key.get_secret_value(),
            "AWS_SECRET_ACCESS_KEY": s3.secret_key.get_secret_value(),
            "AWS_DEFAULT_REGION": s3.region,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
