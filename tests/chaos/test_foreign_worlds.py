"""Foreign worlds: another application in the same database and bucket is not touched.

Its catalog rows, rights, settings, rows of tables (with the transaction that wrote them) and
objects (with the time of writing) are equal before and after every operation of a whole life.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from recsys import ledger, monitoring
from recsys.ledger import State
from recsys.releases import recover_promotion, roll_back
from recsys.releases.recovery import ignore_step
from tests.actors import an_actor
from tests.chaos import neighbor, operations
from tests.chaos.conftest import World
from tests.kills import Killed, kill_at

pytestmark = pytest.mark.slow


@pytest.fixture
def shared(world: World) -> Iterator[tuple[World, psycopg.Connection]]:
    """A world whose database and bucket another application uses already."""
    dsn = world.services.postgres.dsn.get_secret_value()
    with psycopg.connect(dsn, autocommit=True) as conn:
        neighbor.move_in(conn, world.services.store)
        try:
            yield world, conn
        finally:
            neighbor.move_out(conn)


def test_a_life_of_releases_leaves_another_application_as_it_was(
    shared: tuple[World, psycopg.Connection], figure: Callable[[str], None]
) -> None:
    world, conn = shared
    services = world.services
    before = neighbor.belongings(conn, services.store)
    lived: list[str] = []

    def untouched(what: str) -> None:
        now = neighbor.belongings(conn, services.store)
        assert now.keys() == before.keys(), what
        for name, rows in before.items():
            assert now[name] == rows, f"{name} after {what}"
        lived.append(what)

    recover_promotion(services, actor=an_actor())
    untouched("the first recovery")
    for number in (1, 2, 3):
        world.candidate(number)
        untouched(f"loading release {number}")
        if number < 3:
            operations.run(services, "promote", world.id(number), ignore_step)
            untouched(f"promotion {number}")
    roll_back(services, world.id(1), actor=an_actor())
    untouched("rollback")
    operations.decide(services, "promote", world.id(3))
    with pytest.raises(Killed):
        operations.run(services, "promote", world.id(3), kill_at("model copied"))
    untouched("an interrupted promotion")
    assert recover_promotion(services, actor=an_actor()).undone == world.id(3)
    untouched("recovery")
    world.discarded(9)
    operations.run(services, "retire", None, ignore_step)
    assert world.state(9) == State.RETIRED
    untouched("retirement")
    # Its table has the name of a public one and is found first: that is said, not changed.
    [shadow] = monitoring.problems(services)
    assert "movie_vectors means shop.movie_vectors" in shadow
    with services.connect() as direct:
        champion = ledger.champion(direct)
    assert champion is not None
    assert champion.release_id == world.id(1)
    rows = sum(len(some) for some in before.values())
    tables = sum(name.startswith("table ") for name in before)
    assert tables >= 6
    assert len(before["settings"]) == 3
    figure(
        f"foreign worlds: {rows} rows of {len(before) - tables - 2} catalogs and {tables} tables, "
        f"settings and {len(neighbor.OBJECTS)} objects, equal after {len(lived)} operations"
    )
