"""Migration 3 upgrades a ledger that migrations 1 and 2 created, and loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb
from pydantic import SecretStr

from recsys import ledger
from recsys.database import Connection, PostgresSettings
from recsys.ledger import Action, State, migrations
from recsys.releases import RetentionSettings, retire_old_releases
from recsys.services import Services
from tests.actors import an_actor

RELEASE = f"{'a' * 8}-{'b' * 8}"
DAY = datetime(2026, 9, 1, 12, tzinfo=UTC)

OLD_EVENTS: tuple[tuple[str, str, dict[str, Any], Action, str | None], ...] = (
    ("nothing new", "run weekly__1", {}, Action.NOTHING_NEW, "weekly__1"),
    ("nothing new", "somebody looked", {}, Action.NOTHING_NEW, None),
    (
        "run failed",
        "no disk",
        {"run_id": "weekly__2", "dag_id": "movie_rec_sys"},
        Action.RUN_FAILED,
        "weekly__2",
    ),
    ("run late", "deadline", {"run_id": "weekly__3"}, Action.RUN_LATE, "weekly__3"),
    ("promotion undone", "recovery", {}, Action.PROMOTION_UNDONE, None),
    ("rollback undone", "recovery", {}, Action.ROLLBACK_UNDONE, None),
    ("public copies mended", "recovery", {}, Action.PUBLIC_COPIES_REPAIRED, None),
    ("judged and rejected", "worse now", {}, Action.REJECTED_AGAIN, None),
    ("gate overridden", "I know better", {"found": "RMSE"}, Action.GATE_OVERRIDDEN, None),
)
"""Old action, reason and detail; the action and run_id after the upgrade."""


@pytest.fixture
def old(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """A database as version 2 of the schema left it, with events of every kind."""
    with Connection.connect(postgres_dsn, autocommit=True) as conn:
        known = migrations.available()
        with monkeypatch.context() as earlier:
            earlier.setattr(migrations, "available", lambda: known[:2])
            migrations.apply(conn)
        conn.execute("insert into recsys.release_moves values ('new', 'building')")
        with conn.transaction():
            conn.execute(
                "select set_config('recsys.actor', 'ada by weekly__1', true), "
                "set_config('recsys.reason', 'the first release', true)"
            )
            conn.execute(
                "insert into recsys.releases (release_id, dataset_md5, fingerprint, build, state, "
                "run_id, run_nonce) values (%s, %s, %s, '{}', 'building', 'weekly__1', 'n')",
                (RELEASE, "a" * 32, "b" * 64),
            )
        for action, reason, detail, _, _ in OLD_EVENTS:
            conn.execute(
                "insert into recsys.history (at, actor, reason, action, release_id, detail) "
                "values (%s, 'airflow', %s, %s, %s, %s)",
                (DAY, reason, action, RELEASE, Jsonb(detail)),
            )
        conn.execute(
            "insert into recsys.internal_hash (at, dataset_md5, release_id, run_id) "
            "values (%s, %s, %s, 'weekly__1')",
            (DAY, "a" * 32, RELEASE),
        )
        conn.execute(
            "insert into recsys.journal (kind, to_release, actor, reason) "
            "values ('promotion', %s, 'ada (recsys)', 'better')",
            (RELEASE,),
        )
        yield conn


def test_old_events_get_their_names_and_run_ids(old):
    before = old.execute("select id, at, actor, reason from recsys.history order by id").fetchall()
    ledger.prepare(old)
    after = old.execute(
        "select id, at, actor, reason from recsys.history where action <> %s order by id",
        (Action.PRODUCTION_UPDATED,),
    ).fetchall()
    assert after == before, "ids are the keys of alerts that were sent"
    rows = old.execute(
        "select action, run_id, origin, detail from recsys.history "
        "where action not in ('moved', 'production_updated') order by id"
    ).fetchall()
    assert rows == [
        (action, run_id, None, {k: v for k, v in detail.items() if k != "run_id"})
        for _, _, detail, action, run_id in OLD_EVENTS
    ]


def test_the_table_internal_hash_becomes_events_at_their_own_time(old):
    ledger.prepare(old)
    assert old.execute("select to_regclass('recsys.internal_hash')").fetchone() == (None,)
    [event] = [e for e in ledger.history(old) if e["action"] == Action.PRODUCTION_UPDATED]
    assert (event["at"], event["run_id"], event["release_id"]) == (DAY, "weekly__1", RELEASE)
    assert event["detail"] == {"dataset_md5": "a" * 32}
    assert ledger.history(old)[0]["action"] == Action.MOVED, "the newest is still the newest"


def test_an_open_journal_is_still_open_and_has_no_origin(old):
    ledger.prepare(old)
    [journal] = ledger.open_journals(old)
    assert (journal.to_release, journal.actor, journal.origin) == (RELEASE, "ada (recsys)", None)


def test_unknown_events_keep_their_text(old):
    old.execute("insert into recsys.history (actor, reason, action) values ('x', 'y', 'of my own')")
    ledger.prepare(old)
    assert [e for e in ledger.history(old) if e["action"] == "of my own"]


def test_the_history_is_append_only_again_and_records_origins(old):
    ledger.prepare(old)
    with pytest.raises(psycopg.errors.CheckViolation, match="only ever added"):
        old.execute("update recsys.history set reason = 'x'")
    ledger.move(old, RELEASE, State.ABANDONED, actor=an_actor("ann", "gave up"))
    newest = ledger.history(old, RELEASE)[0]
    assert (newest["actor"], newest["origin"], newest["reason"]) == ("ann", "tests", "gave up")


def test_a_run_has_an_event_once(old):
    ledger.prepare(old)
    for reason in ("no disk", "no memory"):
        actor = an_actor("airflow", reason)
        ledger.note_once(old, Action.RUN_FAILED, actor=actor, run_id="weekly__9")
    [event] = [e for e in ledger.history(old) if e["run_id"] == "weekly__9"]
    assert event["reason"] == "no disk"
    ledger.note_once(old, Action.RUN_FAILED, actor=an_actor(), run_id="weekly__2")
    assert [e["reason"] for e in ledger.history(old) if e["run_id"] == "weekly__2"] == ["no disk"]


def test_retirement_upgrades_the_ledger_before_it_records_anything(old, postgres_dsn, s3_settings):
    services = Services(postgres=PostgresSettings(dsn=SecretStr(postgres_dsn)), s3=s3_settings)
    assert retire_old_releases(services, RetentionSettings(), actor=an_actor()).retired == ()
    assert len(migrations.applied(old)) == len(migrations.available())
