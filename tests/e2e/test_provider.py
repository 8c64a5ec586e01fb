"""The provider: hooks, operators, sensor, trigger and example DAGs, on real servers."""

from __future__ import annotations

import asyncio
import json
import pkgutil
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airflow.exceptions import AirflowSensorTimeout
from psycopg import sql
from pydantic import SecretStr

from airflow_provider_recsys.get_provider_info import get_provider_info
from airflow_provider_recsys.hooks.recommender import (
    RecommenderVectorsHook,
)
from airflow_provider_recsys.sensors.release import ReleaseSensor
from airflow_provider_recsys.triggers.release import ReleaseCondition, ReleaseTrigger
from recsys import database, ledger, recommenders, vectors
from recsys.database import PostgresSettings
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from recsys.ledger import LiveRelease
from recsys.recommenders import Description
from recsys.releases import roll_back
from tests.actors import an_actor
from tests.e2e.release_world import (
    VECTORS,
    World,
    of_provider,
    release_events,
    release_world,
)

PG = "recsys_pg_vector_backend"


@pytest.fixture(scope="module")
def shared(airflow_db: None, postgres_server: Postgres, s3_server: S3) -> Iterator[World]:
    with release_world(postgres_server, s3_server) as made:
        yield made


@pytest.fixture
def world(shared: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The servers, as Connections of the provider's types name them."""
    for name, value in of_provider(shared.services).items():
        monkeypatch.setenv(name, value)
    return shared


# --- metadata ---


def test_airflows_schema_accepts_the_metadata() -> None:
    import airflow
    import jsonschema

    folder = Path(str(airflow.__file__)).parent
    info = get_provider_info()
    jsonschema.validate(info, json.loads((folder / "provider_info.schema.json").read_text()))
    schema = json.loads((folder / "provider.yaml.schema.json").read_text())
    types = schema["properties"]["connection-types"]
    jsonschema.validate(info["connection-types"], {**types, "definitions": schema["definitions"]})


def test_airflow_imports_what_the_metadata_names() -> None:
    info = get_provider_info()
    for each in info["connection-types"]:
        hook = pkgutil.resolve_name(each["hook-class-name"])
        assert (hook.conn_type, hook.hook_name) == (each["connection-type"], each["hook-name"])
    for kind in ("hooks", "operators", "sensors", "triggers"):
        for module in info[kind][0]["python-modules"]:
            __import__(module)


# --- operators ---


def test_the_operators_change_the_champion_and_emit_the_asset(world: World) -> None:
    from tests.e2e.provider_dags import promote, roll_back

    first, second, _ = world.candidates
    world.releases.judge(second)
    outcome = world.run(promote, release=second, reason="a better one")
    assert outcome.state == "success", outcome.errors
    assert world.champion == second
    assert world.run(roll_back, reason="complaints").state == "success"
    assert world.champion == first
    with world.services.connect() as conn:
        newest = ledger.history(conn)[0]
    assert newest["reason"] == "complaints"
    assert newest["origin"].startswith("run provider_roll_back/")
    assert release_events()[-2:] == [
        {"release_id": second, "previous": first},
        {"release_id": first, "previous": second},
    ]


def test_an_operator_that_cannot_promote_fails_and_changes_nothing(world: World) -> None:
    from tests.e2e.provider_dags import promote

    before, count = world.champion, len(release_events())
    outcome = world.run(promote, release="00000000-00000000", reason="a better one")
    assert outcome.state == "failed"
    assert world.champion == before
    assert len(release_events()) == count


def test_a_rollback_whose_answer_was_lost_goes_back_one_step(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_recsys.operators import release
    from tests.e2e.provider_dags import roll_back

    for number in (1, 2, 0):
        world.promote(number)
    answers = []

    def lose_the_first_answer(*arguments: Any) -> None:
        answers.append(arguments)
        if len(answers) == 1:
            raise ConnectionError("the worker lost the API server")
        emit_release(*arguments)

    emit_release = release.emit_release
    monkeypatch.setattr(release, "emit_release", lose_the_first_answer)
    outcome = world.run(roll_back, retries=1, reason="complaints")
    assert (outcome.state, outcome.tries["roll_back"]) == ("success", 2), outcome.errors
    assert world.champion == world.candidates[2]
    assert release_events()[-1] == {
        "release_id": world.candidates[2],
        "previous": world.candidates[0],
    }


@pytest.fixture
def books(world: World) -> Iterator[World]:
    """A second recommender on the same servers, with candidates."""
    from tests.e2e.provider_dags import BOOKS

    described = Description(name=BOOKS, title="Books", source="/books.zip")
    recommenders.provision(described, world.services)
    services = recommenders.services_of(described, world.services)
    with services.connect() as conn:
        vectors.enable_vector_extension(conn)
        ledger.prepare(conn)
    yield World(services)
    # They belong to the ledger that is dropped.
    services.store.delete(services.store.keys(""))
    with psycopg.connect(world.services.postgres.address(), autocommit=True) as conn:
        conn.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(BOOKS)))
        role = sql.Identifier(described.namespace.site_role)
        conn.execute(sql.SQL("drop role {}").format(role))


def test_the_name_of_a_recommender_leads_to_its_releases_and_to_its_asset(
    world: World, books: World
) -> None:
    from airflow_provider_recsys.hooks.recommender import RecommenderHook, RecommenderStoreHook
    from tests.e2e.provider_dags import BOOKS, promote_books

    movies, events = world.champion, len(release_events())
    # Its releases have the ids of the first one's: the same builds.
    books.releases.judge(books.candidates[2])
    outcome = world.run(promote_books, release=books.candidates[2], reason="the first one")
    assert outcome.state == "success", outcome.errors
    assert books.champion == books.candidates[2]
    assert release_events(BOOKS) == [{"release_id": books.candidates[2], "previous": None}]
    assert (world.champion, len(release_events())) == (movies, events)
    assert RecommenderHook(recommender=BOOKS).recommend(1, count=2) != []
    store = RecommenderStoreHook(recommender=BOOKS).get_conn()
    assert store.location == books.services.store.location
    trigger = ReleaseTrigger(PG, {}, recommender=BOOKS)
    found = asyncio.run(first_event(again(trigger)))
    assert found["release"]["release_id"] == books.candidates[2]


def test_what_page_and_command_line_change_is_announced_for_its_recommender(
    world: World, books: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tests.e2e.provider_dags import BOOKS, recover_books

    (tmp_path / f"{BOOKS}.yaml").write_text(f"name: {BOOKS}\ntitle: B\nsource: /books.zip\n")
    monkeypatch.setenv("RECSYS_RECOMMENDERS", str(tmp_path))
    of_movies, before = release_events(), release_events(BOOKS)
    # Both call these functions, in processes that cannot emit an event.
    for number in (0, 1):
        books.promote(number)
    roll_back(books.services, actor=an_actor())
    for _ in range(2):
        outcome = world.run(recover_books)
        assert outcome.ran("announce_release"), outcome.errors
    previous = before[-1]["release_id"] if before else None
    assert release_events(BOOKS)[len(before) :] == [
        {"release_id": books.candidates[0], "previous": previous}
    ], "one event, of the release that readers see"
    assert release_events() == of_movies


# --- sensor and trigger ---


NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
LIVE = LiveRelease("1" * 8 + "-" + "2" * 8, NOW - timedelta(days=3))


@pytest.mark.parametrize(
    ("condition", "live", "met"),
    [
        ({}, LIVE, True),
        ({}, None, False),
        ({"other_than": LIVE.release_id}, LIVE, False),
        ({"other_than": "another"}, LIVE, True),
        ({"promoted_after": "2026-11-25T13:00:00+01:00"}, LIVE, False),
        ({"promoted_after": "2026-11-25T12:59:59+01:00"}, LIVE, True),
        ({"max_age_s": 3 * 86_400}, LIVE, True),
        ({"max_age_s": 3 * 86_400 - 1}, LIVE, False),
        ({"max_age_s": 9e5, "other_than": LIVE.release_id}, LIVE, False),
    ],
)
def test_conditions(condition: dict[str, Any], live: LiveRelease | None, met: bool) -> None:
    assert ReleaseCondition(**condition).is_met(live, NOW) is met


def test_the_sensor_waits_in_the_triggerer_for_another_release(world: World) -> None:
    from tests.e2e.provider_dags import wait

    seen = world.champion
    number = 0 if seen != world.candidates[0] else 2
    later = threading.Timer(4, world.promote, args=(number,))
    later.start()
    try:
        outcome = world.run(wait, seen=seen)
    finally:
        later.join()
    assert outcome.state == "success", outcome.errors
    assert world.champion == world.candidates[number]


async def first_event(trigger: ReleaseTrigger) -> dict[str, Any]:
    async for event in trigger.run():
        return dict(event.payload)
    raise AssertionError


def again(trigger: ReleaseTrigger) -> ReleaseTrigger:
    """The trigger as a triggerer that starts again makes it, after a trip through JSON."""
    path, arguments = trigger.serialize()
    assert path.endswith("triggers.release.ReleaseTrigger")
    return ReleaseTrigger(**json.loads(json.dumps(arguments)))


def test_a_trigger_that_is_made_again_finds_what_happened_in_between(world: World) -> None:
    seen = world.champion
    waiting = ReleaseTrigger(PG, {"other_than": seen}, poll_interval=0.05)
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(first_event(waiting), 1))
    number = 0 if seen != world.candidates[0] else 2
    world.promote(number)
    event = asyncio.run(first_event(again(waiting)))
    assert event["status"] == "ready"
    assert event["release"]["release_id"] == world.candidates[number]


def test_the_end_of_a_trigger_is_a_time(world: World) -> None:
    end = (datetime.now(UTC) + timedelta(seconds=0.5)).isoformat()
    waiting = again(ReleaseTrigger(PG, {"max_age_s": 0}, end, poll_interval=30))
    began = time.monotonic()
    assert asyncio.run(first_event(waiting)) == {"status": "timeout"}
    assert time.monotonic() - began < 20
    with pytest.raises(AirflowSensorTimeout):
        ReleaseSensor(task_id="wait").execute_complete({}, {"status": "timeout"})


def test_a_trigger_tries_again_after_an_outage_and_gives_up_on_a_wrong_password(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = json.loads(of_provider(world.services)[VECTORS])
    monkeypatch.setenv(VECTORS, json.dumps({**right, "port": 1}))
    waiting = ReleaseTrigger(PG, {}, poll_interval=0.1)
    threading.Timer(1, monkeypatch.setenv, args=(VECTORS, json.dumps(right))).start()
    assert asyncio.run(first_event(waiting))["status"] == "ready"
    monkeypatch.setenv(VECTORS, json.dumps({**right, "password": "hush-hush"}))
    event = asyncio.run(first_event(waiting))
    assert event["status"] == "error"
    assert "hush-hush" not in event["message"]


def test_before_the_first_run_there_is_no_release(
    airflow_db: None, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VECTORS, postgres_dsn)
    assert RecommenderVectorsHook().live_release() is None
    with database.connect(PostgresSettings(dsn=SecretStr(postgres_dsn))) as conn:
        assert ledger.live_release(conn) is None


# --- the examples ---


def test_the_newsletter_recommends_from_the_live_release(world: World) -> None:
    from airflow_provider_recsys.example_dags.newsletter import dag

    outcome = world.run(dag, subscribers=[1, 2])
    assert outcome.state == "success", outcome.errors
    assert outcome.ran("write_newsletter")


def test_the_nightly_export_writes_every_live_vector(world: World, tmp_path: Path) -> None:
    from airflow_provider_recsys.example_dags.nightly_export import dag

    outcome = world.run(dag, folder=str(tmp_path))
    assert outcome.state == "success", outcome.errors
    [file] = tmp_path.iterdir()
    assert file.name == f"{world.champion}.csv"
    with world.services.connect() as conn:
        [(count,)] = conn.execute("select count(*) from movie_vectors").fetchall()
    assert len(file.read_text().splitlines()) == count > 0
