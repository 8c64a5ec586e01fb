"""Damaged worlds: everything removed or changed, one at a time and in pairs of different kinds.

``python -m tests.chaos.pairs`` checks all pairs of kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from recsys import ledger
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from tests.chaos.damaged_world import (
    Worlds,
    contents,
    damaged_worlds,
    failure_of,
    kinds_of,
    tell,
)

pytestmark = pytest.mark.slow
DISTANCE = 11
"""Places in the list of kinds between the two damages of a pair, so that they are not related."""


@pytest.fixture(scope="module")
def worlds(postgres_server: Postgres, s3_server: S3) -> Iterator[Worlds]:
    with damaged_worlds(postgres_server, s3_server) as made:
        yield made


def test_each_single_damage_is_named_and_healed_or_refused(
    worlds: Worlds, figure: Callable[[str], None]
) -> None:
    worlds.endings.clear()
    failures = [failure for harm in worlds.all if (failure := failure_of(worlds, harm))]
    assert failures == [], "\n" + "\n".join(failures)
    kinds = len({harm.kind for harm in worlds.all})
    figure(f"damaged worlds: {len(worlds.all)} single damages of {kinds} kinds: {tell(worlds)}")
    assert len(worlds.all) >= 120


def test_pairs_of_damages_are_named_and_healed_or_refused(
    worlds: Worlds, figure: Callable[[str], None]
) -> None:
    """Each kind with two others, once first; the damages of a kind take turns."""
    worlds.endings.clear()
    kinds = list(kinds_of(worlds).values())
    failures = []
    for turn, harms in enumerate(kinds):
        chosen = harms, kinds[(turn + DISTANCE) % len(kinds)]
        if failure := failure_of(worlds, *(some[turn % len(some)] for some in chosen)):
            failures.append(failure)
    assert failures == [], "\n" + "\n".join(failures)
    figure(f"damaged worlds: {len(kinds)} pairs of different kinds: {tell(worlds)}")
    assert len(kinds) >= 35


def test_the_world_is_whole_in_the_end(worlds: Worlds) -> None:
    """Damages of copies did not reach the original, so each began in the same world."""
    services = worlds.original
    assert contents(services) == worlds.stored
    with services.connect() as conn:
        champion = ledger.champion(conn)
    assert champion is not None
    assert champion.release_id == worlds.champion
