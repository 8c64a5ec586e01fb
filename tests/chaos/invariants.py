"""What must be true of production, written once: at any instant, and after recovery."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from recsys import contract, database, ledger
from recsys.contract import (
    MANIFEST_FILE,
    MODEL_FILE,
    PUBLIC_MODEL_KEY,
    PUBLIC_POINTER_KEY,
    PUBLIC_TABLES,
    RELEASE_ID_TAG,
    release_key,
    table_name,
)
from recsys.ledger import NEW, Release, State
from recsys.releases import live_tables, public_names
from recsys.services import Services

WHOLE = frozenset(State) - {State.BUILDING, State.ABANDONED, State.RETIRING, State.RETIRED}
"""States in which all that a release consists of must be there."""


def production(
    services: Services, *, lost: frozenset[str] = frozenset(), history: bool = True
) -> str | None:
    """Asserts what holds at every instant, recovered or not; returns the champion's id.

    One complete champion, every public name its own, the pair of the consumer rule whole, the
    public model whole and either the champion's or the one that the open journal names, and
    nothing gone of any release that was not given up.

    Args:
        services: the servers.
        lost: releases that a test has damaged.
        history: check history and journal; False if a test has damaged them.
    """
    with services.connect() as conn:
        releases = ledger.all_releases(conn)
        champions = [r for r in releases if r.state == State.CHAMPION]
        served = conn.execute("select 1 from recsys.history where to_state = 'champion'").fetchall()
        assert len(champions) == bool(served), champions
        champion = champions[0] if champions else None
        _check_tables(conn, champion)
        named = conn.execute(
            "select to_release from recsys.journal where closed_at is null"
        ).fetchall()
        assert len(named) <= 1
        _check_consumer_rule(conn, services, champion)
        _check_public_model(services, champion, [row[0] for row in named], releases)
        _check_nothing_is_lost(conn, services, [r for r in releases if r.release_id not in lost])
        if history:
            _check_history(conn, releases)
    return champion.release_id if champion else None


def recovered(
    services: Services, *, lost: frozenset[str] = frozenset(), history: bool = True
) -> str | None:
    """Asserts what holds besides after recovery; returns the champion's id.

    No open journal, public copies equal to the champion, and nothing left of what was retired.
    The arguments are those of `production`.
    """
    champion_id = production(services, lost=lost, history=history)
    with services.connect() as conn:
        assert conn.execute("select from recsys.journal where closed_at is null").fetchall() == []
        champion = ledger.champion(conn)
        head = services.store.head(PUBLIC_MODEL_KEY)
        if champion is None:
            assert head is None
            assert services.store.head(PUBLIC_POINTER_KEY) is None
        else:
            assert head is not None
            assert head.metadata[RELEASE_ID_TAG] == champion_id
            pointer = json.loads(services.store.get_bytes(PUBLIC_POINTER_KEY))
            model = champion.complete_manifest.artifact(MODEL_FILE)
            assert pointer["release_id"] == champion_id
            assert pointer["model_sha256"] == model.sha256
            assert champion.promoted_at is not None
            assert pointer["promoted_at"] == champion.promoted_at.isoformat()
        _check_no_orphans(conn, services, ledger.all_releases(conn))
    assert services.store.keys(contract.STAGING_PREFIX) == []
    return champion_id


def _check_tables(conn: database.Connection, champion: Release | None) -> None:
    if champion is None:
        assert live_tables(conn) == {}
        return
    assert champion.manifest is not None
    assert champion.completed_at is not None
    assert champion.promoted_at is not None
    assert live_tables(conn) == {
        t.name: table_name(t.name, champion.release_id) for t in PUBLIC_TABLES
    }
    for table in PUBLIC_TABLES:
        name = sql.Identifier(table.name)
        row = conn.execute(sql.SQL("select count(*) from {}").format(name)).fetchone()
        rows = champion.tables[table.name]["rows"]
        if table.id_column == "userid":
            own = sql.Identifier("recsys", table_name(table.name, champion.release_id))
            query = "select count(*) from {} t join recsys.erased_users e on e.user_id = t.userid"
            [(hidden,)] = conn.execute(sql.SQL(query).format(own)).fetchall()
            rows -= hidden
        assert row == (rows,)


def _check_consumer_rule(
    conn: database.Connection, services: Services, champion: Release | None
) -> None:
    with conn.cursor(row_factory=dict_row) as cur:
        rows = cur.execute("select * from recsys.current_release").fetchall()
    assert [row["release_id"] for row in rows] == ([champion.release_id] if champion else [])
    for row in rows:
        assert services.store.sha256(row["model_key"]) == row["model_sha256"]
        for table in PUBLIC_TABLES:
            assert (
                row[f"{table.name}_table"] == f"recsys.{table_name(table.name, row['release_id'])}"
            )


def _check_public_model(
    services: Services, champion: Release | None, named: list[str], releases: list[Release]
) -> None:
    found = services.store.find_content(PUBLIC_MODEL_KEY)
    if found is None:
        # Recovery to "nothing was promoted yet" deletes; a champion always has its copy.
        assert champion is None
        return
    owner = found.metadata[RELEASE_ID_TAG]
    assert owner in [*named, *([champion.release_id] if champion else [])]
    [release] = [r for r in releases if r.release_id == owner]
    model = release.complete_manifest.artifact(MODEL_FILE)
    assert found.sha256 == model.sha256


def _check_nothing_is_lost(
    conn: database.Connection, services: Services, releases: Iterable[Release]
) -> None:
    tables, keys = _tables(conn), set(services.store.keys("releases/"))
    for release in releases:
        if release.state not in WHOLE:
            continue
        needed = {table_name(t.name, release.release_id) for t in PUBLIC_TABLES}
        assert needed <= tables, f"{release.release_id} ({release.state}) lost tables"
        objects = {a.key for a in release.complete_manifest.artifacts}
        objects.add(release_key(release.release_id, MANIFEST_FILE))
        assert objects <= keys, f"{release.release_id} ({release.state}) lost objects"


def _check_no_orphans(
    conn: database.Connection, services: Services, releases: Iterable[Release]
) -> None:
    """Tables, views and objects all belong to a release that is not retired."""
    alive = {r.release_id for r in releases if r.state != State.RETIRED}
    known = {table_name(t.name, r) for t in PUBLIC_TABLES for r in alive}
    assert _tables(conn) <= known
    schemas = {
        row[0]
        for row in conn.execute("select nspname from pg_namespace where nspname ~ '^recsys_views_'")
    }
    assert schemas <= {public_names.views_schema(r) for r in alive}
    champion = ledger.champion(conn)
    if champion is not None:
        assert public_names.views_schema(champion.release_id) not in schemas
    for prefix in (contract.RELEASES_PREFIX, contract.INBOX_PREFIX):
        assert {key.split("/")[1] for key in services.store.keys(prefix)} <= alive


def _check_history(conn: database.Connection, releases: Iterable[Release]) -> None:
    """Each release's moves form one chain from "new" to its state, each with who, when and why."""
    lines = conn.execute(
        "select release_id, from_state, to_state, at, actor, reason from recsys.history "
        "where action = 'moved' order by id"
    ).fetchall()
    chains: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for release_id, before, after, at, actor, reason in lines:
        assert actor.strip()
        assert reason.strip()
        assert at is not None
        chains[release_id].append((before, after))
    for release in releases:
        chain = chains.pop(release.release_id)
        expected = NEW
        for before, after in chain:
            assert before == expected
            assert State(after) in ledger.MOVES[before]
            expected = after
        assert expected == release.state
    assert not chains
    # Every move to champion was committed by a journal, and every committed journal moved one.
    promoted = [release_id for release_id, _, after, *_ in lines if after == State.CHAMPION]
    committed = [
        row[0]
        for row in conn.execute(
            "select to_release from recsys.journal where outcome = 'committed' order by closed_at"
        )
    ]
    assert committed == promoted


def _tables(conn: psycopg.Connection) -> set[str]:
    """Tables in the ledger's schema that bear a public table's name and anything after it."""
    pattern = "^(" + "|".join(re.escape(t.name) for t in PUBLIC_TABLES) + ")_"
    return {
        row[0]
        for row in conn.execute(
            "select tablename from pg_tables where schemaname = %s and tablename ~ %s",
            (contract.LEDGER_SCHEMA, pattern),
        )
    }
