"""Whether releases, history and journal of the ledger agree with each other.

Constraints and triggers keep them consistent. Somebody who switches those off can damage rows.
"""

from __future__ import annotations

import re
from typing import Final

from recsys.database import Connection
from recsys.ledger import migrations
from recsys.ledger.states import MOVES

_TABLE: Final = re.compile(r"^(create|drop) table (recsys\.\w+)", re.MULTILINE)

_STATES = """
select r.release_id, r.state, coalesce(h.to_state, 'nothing') from recsys.releases r
left join lateral (
    select to_state from recsys.history h
    where h.release_id = r.release_id and h.action = 'moved' order by id desc limit 1
) h on true
where r.state is distinct from h.to_state order by 1
"""
# An open journal is not counted: its promotion has not happened.
_PROMOTIONS = """
with moves as (
    select release_id, count(*) as n from recsys.history
    where action = 'moved' and to_state = 'champion' group by 1
), journals as (
    select to_release as release_id, count(*) as n from recsys.journal
    where outcome = 'committed' group by 1
)
select release_id, coalesce(m.n, 0), coalesce(j.n, 0)
from moves m full join journals j using (release_id)
where m.n is distinct from j.n order by 1
"""


def check_writable(conn: Connection) -> None:
    """Raises PostgreSQL's error unless this account may write to the ledger; changes nothing."""
    # No row is changed or locked; PostgreSQL checks the right nevertheless.
    conn.execute("update recsys.releases set state = state where false")


def missing_tables(conn: Connection) -> list[str]:
    """Returns the tables of the ledger that its migrations made and that no longer exist.

    An empty list if the database contains no ledger.
    """
    applied = migrations.applied(conn)
    names: set[str] = set()
    if not applied and conn.execute("select to_regclass('recsys.releases')").fetchone() != (None,):
        names.add("recsys.migrations")
    for migration in migrations.available():
        if migration.number not in applied:
            continue
        for action, name in _TABLE.findall(migration.text):
            names.add(name) if action == "create" else names.discard(name)
    rows = conn.execute(
        "select name from unnest(%s::text[]) as name where to_regclass(name) is null order by name",
        (sorted(names),),
    ).fetchall()
    return [name for (name,) in rows]


def inconsistencies(conn: Connection) -> list[str]:
    """Returns a message for each release whose rows in the ledger contradict each other."""
    states = conn.execute(_STATES).fetchall()
    promotions = conn.execute(_PROMOTIONS).fetchall()
    listed = set(conn.execute("select from_state, to_state from recsys.release_moves"))
    expected = {(str(a), str(b)) for a, targets in MOVES.items() for b in targets}
    return (
        [
            f"recsys.release_moves has not the {len(expected)} moves of this code, which `recsys "
            "recover` writes again"
            for _ in range(listed != expected)
        ]
        + [
            f"release {release_id} is {state}, but the newest event of its history is {newest}"
            for release_id, state, newest in states
        ]
        + [
            f"release {release_id} became the champion {moves} times by its history, and "
            f"{journals} times by the journal"
            for release_id, moves, journals in promotions
        ]
    )
