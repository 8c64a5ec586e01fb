"""A champion that lost a model, a table or a view: recovery repairs what it can, and no way out is
blocked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from psycopg import sql

from recsys import contract, ledger, monitoring
from recsys.contract import (
    LIVE_SCHEMA,
    MODEL_FILE,
    PUBLIC_MODEL_KEY,
    PUBLIC_TABLES,
    RELEASE_ID_TAG,
    release_key,
    table_name,
)
from recsys.errors import ArtifactError, VectorError
from recsys.ledger import Action, Actor
from recsys.releases import (
    RetentionSettings,
    live_tables,
    preview_promotion,
    promote_release,
    recover_promotion,
    retire_old_releases,
    roll_back,
)
from recsys.services import Services
from tests.actors import an_actor
from tests.kills import Killed, kill_at
from tests.release_maker import Releases


@pytest.fixture
def served(services: Services, releases: Releases) -> tuple[str, str]:
    """Two releases: the previous champion, and the champion."""
    first = releases.candidate(1)
    promote_release(services, first, actor=an_actor())
    second = releases.candidate(2)
    promote_release(services, second, actor=an_actor())
    return first, second


def execute(services: Services, text: str, *names: str) -> None:
    with services.connect() as conn:
        conn.execute(sql.SQL(text).format(*map(sql.Identifier, names)))  # type: ignore[arg-type]


def lose_model(services: Services, release_id: str) -> None:
    services.store.delete([release_key(release_id, MODEL_FILE), PUBLIC_MODEL_KEY])


def change_model(services: Services, release_id: str) -> None:
    """Replaces the stored model, and the public copy by a torn one with the right labels."""
    key = release_key(release_id, MODEL_FILE)
    size = len(services.store.get_bytes(key))
    services.store.put_bytes(key, b"x" * size)
    head = services.store.head(PUBLIC_MODEL_KEY)
    assert head is not None
    services.store.put_bytes(PUBLIC_MODEL_KEY, b"y" * size, head.metadata)


def lose_table(services: Services, release_id: str) -> None:
    execute(services, "drop table recsys.{} cascade", table_name("movie_vectors", release_id))


def lose_names(services: Services, release_id: str) -> None:
    lose_table(services, release_id)
    execute(services, "drop schema {} cascade", LIVE_SCHEMA)
    execute(services, "drop view recsys.current_release")


DAMAGES = {
    "its model is lost": lose_model,
    "its model was changed": change_model,
    "a table is lost": lose_table,
    "a table and the public names are lost": lose_names,
}


def is_whole(services: Services, releases: Releases, release_id: str, number: int) -> None:
    with services.connect() as conn:
        champion = ledger.champion(conn)
        assert champion is not None
        assert champion.release_id == release_id
        assert live_tables(conn) == {t.name: table_name(t.name, release_id) for t in PUBLIC_TABLES}
        assert ledger.open_journals(conn) == []
        assert ledger.current_release_is_right(conn, champion)
    assert services.store.get_bytes(PUBLIC_MODEL_KEY) == releases.model_bytes(number)


@pytest.mark.parametrize("harm", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("way", ["rollback", "promotion", "override"])
def test_every_way_leads_away_from_a_damaged_champion(
    services: Services,
    releases: Releases,
    served: tuple[str, str],
    harm: Callable[[Services, str], None],
    way: str,
) -> None:
    harm(services, served[1])
    assert any(served[1] in message for message in monitoring.problems(services))
    with pytest.raises((ArtifactError, VectorError)):
        recover_promotion(services, actor=an_actor())
    retire_old_releases(services, RetentionSettings(), actor=an_actor())

    person = Actor("Ada Lovelace", "test", "the champion is damaged")
    if way == "rollback":
        roll_back(services, actor=an_actor())
        expected, number = served[0], 1
    elif way == "promotion":
        expected, number = releases.candidate(3), 3
        preview_promotion(services, expected)
        promote_release(services, expected, actor=an_actor())
    else:
        expected, number = releases.without_decision(3), 3
        promote_release(services, expected, actor=person, override=True)
    is_whole(services, releases, expected, number)


def test_a_damaged_champion_and_an_interrupted_promotion_end_in_a_whole_pair(
    services: Services, releases: Releases, served: tuple[str, str]
) -> None:
    with pytest.raises(Killed):
        promote_release(
            services, releases.candidate(3), actor=an_actor(), trace=kill_at("model copied")
        )
    services.store.delete([release_key(served[1], MODEL_FILE)])
    with pytest.raises(ArtifactError):
        recover_promotion(services, actor=an_actor())
    with services.connect() as conn:
        assert len(ledger.open_journals(conn)) == 1, "the public model is not the champion's"
    roll_back(services, served[0], actor=an_actor())
    is_whole(services, releases, served[0], 1)


@pytest.mark.parametrize("damaged", ["schema", *(table.name for table in PUBLIC_TABLES)])
def test_recovery_makes_lost_public_views_again(
    services: Services, releases: Releases, served: tuple[str, str], damaged: str
) -> None:
    if damaged == "schema":
        execute(services, "drop schema {} cascade", LIVE_SCHEMA)
    else:
        execute(services, "drop view {}.{}", LIVE_SCHEMA, damaged)
    assert any("public name" in message for message in monitoring.problems(services))
    recovery = recover_promotion(services, actor=an_actor())
    assert (recovery.undone, recovery.copies_restored, recovery.names_restored) == (
        None,
        False,
        True,
    )
    is_whole(services, releases, served[1], 2)
    assert monitoring.problems(services) == []
    with services.connect() as conn:
        assert ledger.history(conn)[0]["action"] == Action.PUBLIC_NAMES_REPAIRED
    roll_back(services, actor=an_actor())
    is_whole(services, releases, served[0], 1)


@pytest.mark.parametrize("damaged", ["schema", *(table.name for table in PUBLIC_TABLES)])
def test_a_change_never_exposes_a_missing_view(
    services: Services, releases: Releases, served: tuple[str, str], damaged: str
) -> None:
    waiting = f"recsys_views_{served[0].replace('-', '_')}"
    if damaged == "schema":
        execute(services, "drop schema {} cascade", waiting)
    else:
        execute(services, "drop view {}.{}", waiting, damaged)
    roll_back(services, actor=an_actor())
    is_whole(services, releases, served[0], 1)
    assert monitoring.problems(services) == []


def test_a_view_of_another_release_is_corrected(
    services: Services, releases: Releases, served: tuple[str, str]
) -> None:
    with services.connect() as conn:
        conn.execute(
            sql.SQL(
                f"create or replace view {LIVE_SCHEMA}.movie_vectors "
                "as select movieid, vector from recsys.{}"
            ).format(sql.Identifier(table_name("movie_vectors", served[0])))
        )
    assert recover_promotion(services, actor=an_actor()).names_restored
    is_whole(services, releases, served[1], 2)


def test_a_public_model_with_the_right_labels_and_other_bytes_is_found_and_replaced(
    services: Services, releases: Releases, served: tuple[str, str]
) -> None:
    head = services.store.head(PUBLIC_MODEL_KEY)
    assert head is not None
    assert head.metadata[RELEASE_ID_TAG] == served[1]
    torn = bytearray(services.store.get_bytes(PUBLIC_MODEL_KEY))
    torn[-100:] = bytes(100)
    services.store.put_bytes(PUBLIC_MODEL_KEY, bytes(torn), head.metadata)
    assert any("public copies" in message for message in monitoring.problems(services))
    assert recover_promotion(services, actor=an_actor()).copies_restored
    is_whole(services, releases, served[1], 2)


def test_a_model_that_changes_while_it_is_published_stays_private(
    services: Services, releases: Releases, served: tuple[str, str]
) -> None:
    candidate = releases.candidate(3)
    key = release_key(candidate, MODEL_FILE)

    def replace_model(step: str) -> None:
        if step == "journal opened":
            size = len(services.store.get_bytes(key))
            services.store.put_bytes(key, b"z" * size)

    with pytest.raises(ArtifactError, match="differs from the model that was to be copied"):
        promote_release(services, candidate, actor=an_actor(), trace=replace_model)
    is_whole(services, releases, served[1], 2)


def test_the_pointer_is_the_same_in_all_time_zones(
    services: Services, releases: Releases, served: tuple[str, str]
) -> None:
    before: Any = services.store.get_bytes(contract.PUBLIC_POINTER_KEY)
    with services.connect() as conn:
        [(name,)] = conn.execute("select current_database()").fetchall()
        conn.execute(
            sql.SQL("alter database {} set timezone = 'Asia/Kolkata'").format(sql.Identifier(name))
        )
    assert not recover_promotion(services, actor=an_actor()).needed
    assert services.store.get_bytes(contract.PUBLIC_POINTER_KEY) == before
    assert b"+00:00" in before
