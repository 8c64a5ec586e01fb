"""A ledger with hundreds of releases costs no more statements and requests than a small one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from recsys import contract, ledger, monitoring
from recsys.contract import MODEL_FILE, table_name
from recsys.ledger import State
from recsys.monitoring import ReleaseQuery
from recsys.releases import RetentionSettings, promote_release, retire_old_releases
from recsys.services import Services
from tests.actors import an_actor
from tests.chaos.tap import Call, Tap
from tests.release_maker import Releases, make_retired

MANY = 500
RETAINED = (5, 50)
RETENTION = RetentionSettings(keep_releases=1)


@dataclass
class Cost(Tap):
    """Counts what an operation sends, and the rows that it gets."""

    sent: dict[str, int] = field(default_factory=lambda: {"sql": 0, "s3": 0})
    seconds: float = 0.0
    rows: int = 0

    def sql(self, call: Call, conn: Any, gen: Any, proceed: Callable[[], Any]) -> Any:
        self.sent["sql"] += 1
        cursor = gen.gi_frame.f_locals.get("self")
        result = proceed()
        if isinstance(cursor, psycopg.Cursor):
            self.rows += max(0, cursor.rowcount)
        return result

    def s3(self, call: Call, request: Any, proceed: Callable[[], Any]) -> Any:
        self.sent["s3"] += 1
        return proceed()


def measure(services: Services, releases: Releases, number: int) -> dict[str, Cost]:
    """Returns the cost of each operation; one release is retired."""
    rejected = releases.candidate(number)
    with services.connect() as conn:
        ledger.move(conn, rejected, State.REJECTED, actor=an_actor())
    spare = releases.candidate(number + 1)
    with services.connect() as conn:
        ledger.move(conn, spare, State.REJECTED, actor=an_actor())
    operations: dict[str, Callable[[], Any]] = {
        "retirement": lambda: retire_old_releases(services, RETENTION, actor=an_actor()),
        "status": lambda: monitoring.read_status(services),
        "doctor": lambda: monitoring.problems(services),
        "releases page": lambda: monitoring.read_overview(services),
    }
    costs = {}
    for name, run in operations.items():
        cost = Cost(services.store)
        with cost:
            started = time.perf_counter()
            result = run()
            cost.seconds = time.perf_counter() - started
        costs[name] = cost
        if name == "retirement":
            assert rejected in result.retired
            assert result.skipped == {}
        if name == "doctor":
            assert result == []
    return costs


def test_pages_hold_each_release_once_and_find_by_state_and_text(
    services: Services, releases: Releases
) -> None:
    for number in (1, 2):
        promote_release(services, releases.candidate(number), actor=an_actor())
    live, before = releases.build(2).release_id, releases.build(1).release_id
    with services.connect() as conn:
        make_retired(conn, 57, live)
        known = ledger.all_releases(conn)
    pages = [monitoring.read_overview(services, ReleaseQuery(page=page)) for page in (1, 2, 3, 4)]
    assert [len(page.releases) for page in pages] == [25, 25, 9, 0]
    assert {(page.found, page.pages) for page in pages} == {(59, 3)}
    listed = [release for page in pages for release in page.releases]
    assert [release.release_id for release in listed] == [release.release_id for release in known]
    assert [release.state for release in listed] == [release.state for release in known]
    assert all(release.decision for release in listed)
    assert all(release.metrics.values() for release in listed)
    for page in pages:
        assert page.live is not None
        assert page.live.release_id == page.champion == live
        assert [target.release_id for target in page.rollback_targets] == [before]
        assert len(page.charted) == 30
        assert page.state_counts[State.RETIRED] == 57

    def find(**query: Any) -> list[str]:
        page = monitoring.read_overview(services, ReleaseQuery(**query))
        assert page.found >= len(page.releases)
        return [release.release_id for release in page.releases]

    assert find(state=State.SUPERSEDED) == [before]
    assert find(text=live[:8]) == [live]
    assert find(text=known[-1].dataset_md5) == [known[-1].release_id]
    assert find(text="run-old-5", state=State.RETIRED, per_page=500) == [
        release.release_id for release in known if release.run_id.startswith("run-old-5")
    ]
    assert find(text="run-old-5", state=State.CHAMPION) == []
    for hostile in ("%", "_______", "'; drop table recsys.releases --", "\\"):
        assert find(text=hostile) == []


def test_the_cost_does_not_grow_with_the_number_of_releases(
    services: Services, releases: Releases, record_property: Callable[[str, object], None]
) -> None:
    for number in (1, 2):
        promote_release(services, releases.candidate(number), actor=an_actor())
    measure(services, releases, 10)
    few = measure(services, releases, 20)
    with services.connect() as conn:
        make_retired(conn, MANY, releases.build(1).release_id)
    many = measure(services, releases, 30)
    with services.connect() as conn:
        assert len(ledger.all_releases(conn)) > MANY
        assert ledger.state_counts(conn)[State.RETIRED] > MANY
    for name, cost in many.items():
        assert cost.sent == few[name].sent, name
    # A page of releases, those in the charts, those to roll back to, and the newest events.
    assert 25 + 30 < many["releases page"].rows < 300
    record_property(
        "figure",
        f"{MANY} releases in the ledger: "
        + ", ".join(
            f"{name} {cost.seconds:.2f} s ({few[name].seconds:.2f} s without them; "
            f"{cost.sent['sql']} statements, {cost.sent['s3']} requests)"
            for name, cost in many.items()
        ),
    )


def test_the_cost_of_doctor_does_not_grow_with_the_retained_releases(
    services: Services, releases: Releases, record_property: Callable[[str, object], None]
) -> None:
    costs = {}
    for number in range(1, RETAINED[-1] + 1):
        release_id = releases.without_decision(number)
        if number < 4:
            releases.judge(release_id)
            promote_release(services, release_id, actor=an_actor())
        if number in RETAINED:
            with Cost(services.store) as costs[number]:
                assert monitoring.problems(services) == []
    few, many = (costs[number].sent for number in RETAINED)
    assert few == many
    record_property(
        "figure",
        f"doctor: {few['sql']} statements and {few['s3']} requests for {RETAINED[0]} retained "
        f"releases, {many['sql']} and {many['s3']} for {RETAINED[1]}",
    )
    removed = contract.release_key(releases.build(10).release_id, MODEL_FILE)
    shortened = contract.release_key(releases.build(11).release_id, MODEL_FILE)
    services.store.delete([removed])
    services.store.put_bytes(shortened, b"short")
    dropped, emptied, unindexed = (
        table_name("movie_vectors", releases.build(number).release_id) for number in (12, 13, 14)
    )
    with services.connect() as conn:
        views = [f"recsys_views_{dropped[-17:]}", f"recsys_views_{unindexed[-17:]}"]
        assert conn.execute(
            "select count(*) from pg_namespace where nspname = any(%s)", (views,)
        ).fetchone() == (0,)
        conn.execute(sql.SQL("drop table recsys.{}").format(sql.Identifier(dropped)))
        conn.execute(
            sql.SQL("delete from recsys.{} where movieid = 1").format(sql.Identifier(emptied))
        )
        [(index,)] = conn.execute(
            "select indexrelid::regclass::text from pg_index i join pg_class c "
            "on c.oid = i.indexrelid join pg_am a on a.oid = c.relam "
            "where a.amname = 'hnsw' and indrelid = %s::regclass",
            (f"recsys.{unindexed}",),
        ).fetchall()
        conn.execute(f"drop index {index}")
    found = monitoring.problems(services)
    assert len(found) == 5
    for name in (removed, shortened, dropped, emptied, unindexed):
        assert any(name in problem for problem in found), name
    assert len(monitoring.problems(services, thorough=True)) == 5
