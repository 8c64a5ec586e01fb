"""A bucket belongs to one ledger: another one neither deletes nor overwrites what is public."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from recsys import ledger, monitoring
from recsys.contract import OWNER_KEY, PUBLIC_MODEL_KEY, PUBLIC_POINTER_KEY
from recsys.database import PostgresSettings
from recsys.embedded.postgres import Postgres
from recsys.errors import LedgerError
from recsys.ledger import Action
from recsys.releases import (
    RetentionSettings,
    adopt_bucket,
    promote_release,
    recover_promotion,
    retire_old_releases,
    roll_back,
)
from recsys.services import Services
from tests.actors import an_actor
from tests.conftest import fresh_database
from tests.kills import Killed, kill_at
from tests.release_maker import Releases


@pytest.fixture
def stranger(services: Services, postgres_server: Postgres) -> Iterator[Services]:
    """Another, empty database, connected with the bucket of `services`."""
    with fresh_database(postgres_server) as dsn:
        yield Services(postgres=PostgresSettings(dsn=SecretStr(dsn)), s3=services.s3)


def public_objects(services: Services) -> dict[str, bytes]:
    return {key: services.store.get_bytes(key) for key in services.store.keys("") if "/" not in key}


def test_an_empty_ledger_leaves_the_public_model_of_another_one(
    services: Services, stranger: Services, releases: Releases
) -> None:
    promote_release(services, releases.candidate(1), actor=an_actor())
    before = public_objects(services)
    assert {PUBLIC_MODEL_KEY, PUBLIC_POINTER_KEY, OWNER_KEY} == set(before)

    assert any("no ledger" in message for message in monitoring.problems(stranger))
    with pytest.raises(LedgerError, match=r"belongs to another ledger.*recsys adopt"):
        recover_promotion(stranger, actor=an_actor())
    assert any("belongs to another ledger" in message for message in monitoring.problems(stranger))
    assert public_objects(services) == before
    assert monitoring.problems(services) == []


def test_a_bucket_from_before_owners_existed_is_not_given_to_an_empty_ledger(
    services: Services, stranger: Services, releases: Releases
) -> None:
    promote_release(services, releases.candidate(1), actor=an_actor())
    services.store.delete([OWNER_KEY])
    before = public_objects(services)
    with pytest.raises(LedgerError, match="not in this database's ledger"):
        recover_promotion(stranger, actor=an_actor())
    assert public_objects(services) == before

    # The ledger that made the releases gets its bucket back without a person.
    [missing] = monitoring.problems(services)
    assert "owner.json is missing" in missing
    assert not recover_promotion(services, actor=an_actor()).needed
    assert json.loads(services.store.get_bytes(OWNER_KEY))["ledger_id"] == ledger_id(services)


def test_releases_that_were_never_public_show_whose_bucket_it_is(
    services: Services, stranger: Services, releases: Releases
) -> None:
    releases.candidate(1)
    with pytest.raises(LedgerError, match="manifests of other releases"):
        recover_promotion(stranger, actor=an_actor())


def test_two_pipelines_cannot_share_a_bucket(
    services: Services, stranger: Services, releases: Releases
) -> None:
    recover_promotion(services, actor=an_actor())
    others = Releases(stranger)
    candidate = others.candidate(7)
    for change in (
        lambda: promote_release(stranger, candidate, actor=an_actor()),
        lambda: roll_back(stranger, candidate, actor=an_actor()),
        lambda: retire_old_releases(stranger, RetentionSettings(), actor=an_actor()),
    ):
        with pytest.raises(LedgerError, match="belongs to another ledger"):
            change()


def test_a_person_gives_the_bucket_to_another_ledger(
    services: Services, stranger: Services, releases: Releases
) -> None:
    promote_release(services, releases.candidate(1), actor=an_actor())
    public = services.store.get_bytes(PUBLIC_MODEL_KEY)

    assert adopt_bucket(stranger, actor=an_actor("ada", "moved")) == ledger_id(services)
    assert not recover_promotion(stranger, actor=an_actor()).needed
    assert services.store.get_bytes(PUBLIC_MODEL_KEY) == public, "a site may serve it"
    assert any("no promotion of this ledger" in text for text in monitoring.problems(stranger))
    with stranger.connect() as conn:
        [event] = [line for line in ledger.history(conn) if line["action"] == Action.BUCKET_ADOPTED]
    assert (event["actor"], event["reason"]) == ("ada", "moved")
    assert event["detail"]["previous_owner"] == ledger_id(services)

    with pytest.raises(LedgerError, match="belongs to another ledger"):
        recover_promotion(services, actor=an_actor())
    others = Releases(stranger)
    promote_release(stranger, others.candidate(7), actor=an_actor())
    assert services.store.get_bytes(PUBLIC_MODEL_KEY) == others.model_bytes(7)
    assert adopt_bucket(stranger, actor=an_actor()) == ledger_id(stranger), "nothing to change"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"ledger": 1}', b"\xff"])
def test_a_damaged_owner_is_refused_and_can_be_replaced(
    services: Services, releases: Releases, content: bytes
) -> None:
    promote_release(services, releases.candidate(1), actor=an_actor())
    services.store.put_bytes(OWNER_KEY, content)
    with pytest.raises(LedgerError, match="names no ledger"):
        recover_promotion(services, actor=an_actor())
    assert any("names no ledger" in message for message in monitoring.problems(services))
    adopt_bucket(services, actor=an_actor())
    assert not recover_promotion(services, actor=an_actor()).needed


def test_an_interrupted_first_promotion_is_withdrawn(
    services: Services, releases: Releases
) -> None:
    with pytest.raises(Killed):
        promote_release(
            services, releases.candidate(1), actor=an_actor(), trace=kill_at("model copied")
        )
    assert services.store.head(PUBLIC_MODEL_KEY) is not None
    assert recover_promotion(services, actor=an_actor()).undone is not None
    assert services.store.head(PUBLIC_MODEL_KEY) is None
    assert monitoring.problems(services) == []


def ledger_id(services: Services) -> str:
    with services.connect() as conn:
        return ledger.ledger_id(conn)
