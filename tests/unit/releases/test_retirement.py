"""Properties of the releases that retirement keeps, for any ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recsys import ledger
from recsys.ledger import Release, State
from recsys.releases import RetentionSettings, releases_to_keep
from tests.examples import examples

law = hypothesis_settings(
    deadline=None, max_examples=examples(150)
)  # no deadline: a loaded machine must not fail the test

START = datetime(2026, 1, 1, tzinfo=UTC)
GONE = (State.RETIRING, State.RETIRED)
NOT_COMPLETE = (State.BUILDING, State.ABANDONED)
ONCE_CHAMPION = (State.SUPERSEDED, State.ROLLED_BACK)


def release(number: int, state: State, completed: int | None, promoted: int | None) -> Release:
    """A release of the ledger; times are in hours after ``START``."""

    def at(hours: int | None) -> Any:
        return None if hours is None else START + timedelta(hours=hours)

    return Release(
        release_id=f"{number:08x}-00000000",
        dataset_md5=f"{number:032x}",
        fingerprint=f"{number:064x}",
        build={},
        state=state,
        run_id="run",
        run_nonce="n" * 8,
        manifest=None,
        manifest_sha256=None,
        tables={},
        created_at=START + timedelta(seconds=number),
        changed_at=START,
        completed_at=at(completed),
        promoted_at=at(promoted),
    )


@st.composite
def ledgers(draw: st.DrawFn) -> list[Release]:
    """Releases of a valid ledger in any order: at most one champion, and unique times."""
    others = [s for s in State if s != State.CHAMPION]
    states: list[State] = draw(st.lists(st.sampled_from(others), max_size=12))
    if draw(st.booleans()):
        states.append(State.CHAMPION)
    hours = draw(st.permutations(range(2 * len(states))))
    rows = []
    for number, state in enumerate(states):
        completed = hours[2 * number] if state not in NOT_COMPLETE else None
        must = state in (State.CHAMPION, *ONCE_CHAMPION)
        # A release that was retired and built again remembers when it was once promoted.
        promoted = hours[2 * number + 1] if must or draw(st.booleans()) else None
        rows.append(release(number, state, completed, promoted))
    return draw(st.permutations(rows))


retentions = st.integers(0, 14).map(lambda keep: RetentionSettings(keep_releases=keep))


@st.composite
def ledgers_with_a_journal(draw: st.DrawFn) -> tuple[list[Release], frozenset[str]]:
    """Releases, and the ids in an open journal, which are never being retired."""
    rows = draw(ledgers())
    able = [r.release_id for r in rows if r.state not in GONE]
    named = draw(st.lists(st.sampled_from(able), max_size=2, unique=True)) if able else []
    return rows, frozenset(named)


def ids(rows: list[Release]) -> set[str]:
    return {r.release_id for r in rows}


def previous_champion(rows: list[Release]) -> set[str]:
    """The same release as `ledger.previous_champion` finds."""
    served = sorted((r.promoted_at, r.release_id) for r in rows if r.state in ONCE_CHAMPION)
    return {served[-1][1]} if served else set()


def rollback_target(rows: list[Release]) -> set[str]:
    """The same release as `ledger.rollback_target` finds."""
    left = sorted((r.promoted_at, r.release_id) for r in rows if r.state == State.SUPERSEDED)
    return {left[-1][1]} if left else set()


def newest_complete(rows: list[Release], count: int) -> set[str]:
    complete = [(r.completed_at, r.release_id) for r in rows if r.completed_at]
    return {release_id for _, release_id in sorted(complete, reverse=True)[:count]}


def to_go_back_to(rows: list[Release]) -> list[Release]:
    return [r for r in rows if r.state in ledger.SERVABLE]


def to_override(rows: list[Release]) -> list[Release]:
    return [r for r in rows if r.state not in ledger.SERVABLE and r.state not in GONE]


@law
@given(ledgers_with_a_journal(), retentions)
def test_keeps_exactly_the_releases_that_have_a_reason(
    found: tuple[list[Release], frozenset[str]], settings: RetentionSettings
) -> None:
    rows, named = found
    unjudged = {State.BUILDING, State.CANDIDATE, State.CHAMPION}
    assert releases_to_keep(rows, settings, named) == (
        ids([r for r in rows if r.state in unjudged])
        | previous_champion(rows)
        | rollback_target(rows)
        | newest_complete(to_go_back_to(rows), settings.keep_releases)
        | newest_complete(to_override(rows), settings.keep_releases)
        | named
    )


@law
@given(ledgers_with_a_journal(), retentions)
def test_does_not_keep_retired_or_retiring_releases(
    found: tuple[list[Release], frozenset[str]], settings: RetentionSettings
) -> None:
    rows, named = found
    assert not releases_to_keep(rows, settings, named) & ids([r for r in rows if r.state in GONE])


@law
@given(ledgers_with_a_journal(), retentions, st.integers(1, 5))
def test_a_larger_keep_releases_keeps_a_superset(
    found: tuple[list[Release], frozenset[str]], settings: RetentionSettings, more: int
) -> None:
    rows, named = found
    longer = RetentionSettings(keep_releases=settings.keep_releases + more)
    assert releases_to_keep(rows, settings, named) <= releases_to_keep(rows, longer, named)
    assert releases_to_keep(rows, settings) <= releases_to_keep(rows, settings, named)


@law
@given(ledgers_with_a_journal(), retentions)
def test_only_terminal_releases_are_retired_and_retirement_is_idempotent(
    found: tuple[list[Release], frozenset[str]], settings: RetentionSettings
) -> None:
    rows, named = found
    stay = releases_to_keep(rows, settings, named)
    going = [r for r in rows if r.release_id not in stay and r.state not in GONE]
    # A move that the ledger refuses would stop retirement at this release for ever.
    assert all(r.state in ledger.TERMINAL for r in going)
    assert releases_to_keep([r for r in rows if r not in going], settings, named) == stay


@pytest.mark.parametrize("keep", [0, 1, 5])
def test_a_rollback_target_is_always_kept(keep: int) -> None:
    rows = [
        release(1, State.SUPERSEDED, completed=1, promoted=2),
        release(2, State.ROLLED_BACK, completed=3, promoted=9),
        release(3, State.CHAMPION, completed=5, promoted=6),
        *(release(n, State.REJECTED, completed=10 + n, promoted=None) for n in range(4, 12)),
    ]
    assert {rows[1].release_id, rows[2].release_id} <= releases_to_keep(
        rows, RetentionSettings(keep_releases=keep)
    )
