"""Two recommenders in one bucket: no life of releases of one touches an object of the other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from recsys import monitoring, pipeline
from recsys.contract import MANIFEST_FILE, PUBLIC_MODEL_KEY, BuildSettings, release_key
from recsys.database import PostgresSettings
from recsys.dataset import write_sample
from recsys.embedded.postgres import Postgres
from recsys.object_store import ObjectStore
from recsys.releases import (
    RetentionSettings,
    delete_orphans,
    promote_release,
    recover_promotion,
    retire_old_releases,
    roll_back,
)
from recsys.services import Services
from recsys.trainer_process import LocalTrainer
from tests.actors import an_actor
from tests.conftest import fresh_database
from tests.integration.site.readers import make_reader, s3_client
from tests.release_maker import Releases

BRIEF = {"rating": {"members": 2, "epochs": 2}, "ranking": {"epochs": 1}}


@pytest.fixture
def books(services: Services, postgres_server: Postgres) -> Iterator[Services]:
    """A recommender with a prefix in the bucket of `services`, and a database of its own."""
    with fresh_database(postgres_server) as dsn:
        yield Services(
            postgres=PostgresSettings(dsn=SecretStr(dsn)),
            s3=services.s3.model_copy(update={"prefix": "books/"}),
        )


def bucket_content(services: Services) -> dict[str, tuple[bytes, str]]:
    """All objects of the bucket by their full keys, with content and user metadata."""
    whole = ObjectStore.connect(services.s3.model_copy(update={"prefix": ""}))
    return {
        key: (whole.get_bytes(key), str((head := whole.head(key)) and head.metadata))
        for key in whole.keys("")
    }


def live_through_releases(services: Services) -> None:
    """Promotes, rolls back, retires, leaves an orphan and deletes it."""
    made = Releases(services)
    for number in (1, 2, 3):
        promote_release(services, made.candidate(number), actor=an_actor())
    roll_back(services, actor=an_actor())
    services.store.put_bytes("incoming/00000000-00000000/nonce-of-a-run/model.keras", b"left")
    retire_old_releases(services, RetentionSettings(keep_releases=1), actor=an_actor())
    delete_orphans(services, actor=an_actor(), grace=timedelta(0))
    recover_promotion(services, actor=an_actor())


@pytest.mark.parametrize("prefixed_is_first", [True, False])
def test_a_life_of_releases_leaves_the_other_recommenders_objects_as_they_are(
    services: Services, books: Services, prefixed_is_first: bool
) -> None:
    still, lively = (books, services) if prefixed_is_first else (services, books)
    # The same builds, so the same release ids and relative keys.
    promote_release(still, Releases(still).candidate(1), actor=an_actor())
    before = bucket_content(services)
    assert all(key.startswith("books/") == prefixed_is_first for key in before)

    live_through_releases(lively)

    after = bucket_content(services)
    assert {key: after[key] for key in before} == before
    added = after.keys() - before.keys()
    assert added
    assert all(key.startswith("books/") != prefixed_is_first for key in added)
    for each in (still, lively):
        assert monitoring.problems(each) == []


def test_a_site_with_the_prefix_reads_the_release_of_its_recommender(
    services: Services, books: Services, tmp_path: Path
) -> None:
    promote_release(services, Releases(services).candidate(1), actor=an_actor())
    promote_release(books, Releases(books).candidate(2), actor=an_actor())
    reader = make_reader(books, s3_client(books), tmp_path)
    assert reader.live.model == books.store.get_bytes(PUBLIC_MODEL_KEY)
    assert reader.live.model != services.store.get_bytes(PUBLIC_MODEL_KEY)


def test_trainer_and_verifier_work_below_the_prefix(
    books: Services, tmp_path: Path, repository: Path
) -> None:
    source = tmp_path / "data.zip"
    write_sample(source, ratings=3_000, seed=1)
    run = pipeline.data_is_new(
        books,
        source=str(source),
        trainer_digest=f"sha256:{'b' * 64}",
        settings=BuildSettings.model_validate({"trainer": {"overrides": BRIEF}}),
        run_id="books",
        force=False,
        actor=an_actor(),
    ).run
    pipeline.fetch_dataset(books, run)
    pipeline.generate_data_frames(books, run)
    python = os.environ.get("RECSYS_TRAINER_PYTHON") or repository / "trainer/.venv/bin/python"
    trainer = LocalTrainer(Path(python), repository)
    assert pipeline.train_dl_model(books, run, trainer)
    pipeline.verify_candidate(books, run, trainer)
    assert books.store.head(release_key(run.release_id, MANIFEST_FILE)) is not None
    assert {key.partition("/")[0] for key in bucket_content(books)} == {"books"}
