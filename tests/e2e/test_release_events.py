"""The asset of the releases: an event for each change of what readers see, and for nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from recsys import ledger
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from recsys.ledger import State
from recsys.releases import roll_back
from tests.actors import an_actor
from tests.e2e.conftest import connections
from tests.e2e.release_world import World, release_events, release_world


@pytest.fixture(scope="module")
def shared(airflow_db: None, postgres_server: Postgres, s3_server: S3) -> Iterator[World]:
    with release_world(postgres_server, s3_server) as made:
        yield made


@pytest.fixture
def world(shared: World, monkeypatch: pytest.MonkeyPatch) -> World:
    for name, value in connections(shared.services).items():
        monkeypatch.setenv(name, value)
    return shared


def recover(world: World) -> None:
    from recsys_dag.recommenders import DAGS

    dag = DAGS["movie_rec_sys_recover"]

    outcome = world.run(dag)
    assert outcome.ran("announce_release"), outcome.errors


def test_a_change_outside_of_a_task_is_announced_once(world: World) -> None:
    recover(world)
    first = world.champion
    assert release_events()[-1]["release_id"] == first
    count = len(release_events())
    recover(world)
    assert len(release_events()) == count

    world.promote(1)
    assert len(release_events()) == count, "the command line has no event"
    recover(world)
    recover(world)
    assert release_events()[count:] == [{"release_id": world.candidates[1], "previous": first}]

    roll_back(world.services, actor=an_actor())
    recover(world)
    assert world.champion == first
    assert release_events()[count + 1 :] == [{"release_id": first, "previous": world.candidates[1]}]


def test_the_rollback_dag_emits_and_a_failed_rollback_does_not(world: World) -> None:
    from recsys_dag.recommenders import DAGS

    dag = DAGS["movie_rec_sys_rollback"]

    world.promote(2)
    recover(world)
    before, count = world.champion, len(release_events())
    failed = world.run(dag, release="00000000-00000000", reason="test")
    assert failed.state == "failed"
    assert len(release_events()) == count
    outcome = world.run(dag, release=None, reason="complaints")
    assert outcome.state == "success", outcome.errors
    assert release_events()[count:] == [{"release_id": world.champion, "previous": before}]
    recover(world)
    assert len(release_events()) == count + 1, "the task has announced it already"


def test_a_rejected_candidate_is_not_announced(world: World) -> None:
    recover(world)
    count = len(release_events())
    candidate = world.releases.candidate(4)
    with world.services.connect() as conn:
        ledger.move(conn, candidate, State.REJECTED, actor=an_actor())
    recover(world)
    assert len(release_events()) == count


def test_an_asset_of_the_same_name_by_another_team_stops_no_rollback(world: World) -> None:
    """Airflow lets no task begin whose outlet is inactive, and of one name, one asset is active."""
    from airflow.models.asset import AssetActive, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    from recsys_dag.recommenders import DAGS

    dag = DAGS["movie_rec_sys_rollback"]

    name = "recsys_release/movie_rec_sys"
    with create_session() as session:
        session.execute(delete(AssetActive).where(AssetActive.name == name))
        theirs = AssetModel(name=name, uri="s3://theirs/x", group="asset", extra={})
        session.add(theirs)
        session.flush()
        session.add(AssetActive(name=name, uri="s3://theirs/x"))
    try:
        world.promote(1)
        outcome = world.run(dag, release=None, reason="complaints")
        assert outcome.state == "success", outcome.errors
        assert release_events()[-1]["release_id"] == world.champion
    finally:
        with create_session() as session:
            session.execute(delete(AssetActive).where(AssetActive.name == name))
            session.execute(delete(AssetModel).where(AssetModel.uri == "s3://theirs/x"))
