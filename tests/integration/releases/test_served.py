"""Mutation test of what is served: each bad table is rejected for its own reason.

The tables of one release are changed in PostgreSQL, in a transaction that is undone afterwards.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, LiteralString

import numpy as np
import pytest
from psycopg import sql
from pydantic import SecretStr

from recsys import contract, database, ledger, pipeline, releases
from recsys.contract import CANDIDATE_ARTIFACTS, GOLDEN_RECOMMENDATIONS_FILE, release_key
from recsys.database import Connection, PostgresSettings
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from recsys.gate import Decision, GateSettings, ServedFacts, judge, judged_metrics
from recsys.ledger import Release
from recsys.services import Services
from tests.conftest import fresh_bucket, fresh_database
from tests.release_maker import Releases, Vectors

NUMBER = 1


class RefittedReleases(Releases):
    """Towers with a structure, served after a refit that moved them a little."""

    ARTIFACTS = CANDIDATE_ARTIFACTS
    MOVIES = 300
    USERS = 60
    FACTORS = 8
    REFIT = 0.3
    """Standard deviation of what a fit adds to each factor."""

    def vectors(self, number: int) -> dict[str, Vectors]:
        return self._fitted(number, 1)

    def evaluated(self, number: int) -> dict[str, Vectors]:
        return self._fitted(number, 2)

    def histories(self, users: int) -> list[list[int]]:
        rng = np.random.default_rng(9)
        return [rng.permutation(self.MOVIES)[:20].__add__(1).tolist() for _ in range(users)]

    def _fitted(self, number: int, fit: int) -> dict[str, Vectors]:
        made = super().vectors(number)
        for name in ("user_towers", "movie_towers"):
            ids, factors, extra = made[name]
            noise = np.random.default_rng([number, fit]).normal(size=factors.shape)
            fitted = (factors + self.REFIT * noise).astype(np.float32)
            fitted[:, self.FACTORS :] = 0
            made[name] = ids, fitted, extra
        return made


@dataclass(frozen=True)
class World:
    """A release that is complete and has not been judged."""

    services: Services
    maker: Releases
    release_id: str

    def measure(self, conn: Connection) -> ServedFacts:
        release = ledger.get(conn, self.release_id)
        prefix = self.maker.build(NUMBER).features_prefix
        return releases.measure_served(conn, self.services.store, release, prefix)

    def judge(self, conn: Connection) -> Decision:
        release = ledger.get(conn, self.release_id)
        return decide(release, self.measure(conn))


def decide(release: Release, facts: ServedFacts) -> Decision:
    judged = judged_metrics(release.complete_manifest, release.tables, None, facts)
    return judge(judged, None, GateSettings())


def failed(decision: Decision) -> set[str]:
    return {rule.name for rule in decision.rules if not rule.passed}


@pytest.fixture(scope="module")
def world(postgres_server: Postgres, prepared_template: str, s3_server: S3) -> Iterator[World]:
    with fresh_database(postgres_server, prepared_template) as dsn, fresh_bucket(s3_server) as s3:
        services = Services(postgres=PostgresSettings(dsn=SecretStr(dsn)), s3=s3)
        maker = RefittedReleases(services)
        maker.put_features(NUMBER)
        yield World(services, maker, maker.without_decision(NUMBER))


@pytest.fixture
def conn(world: World) -> Iterator[Connection]:
    with database.connect(world.services.postgres) as connection:
        yield connection


def test_the_unchanged_tables_are_accepted(world: World, conn: Connection) -> None:
    facts = world.measure(conn)
    decision = world.judge(conn)

    assert decision.accepted, decision.reason
    assert facts.model_dump() == world.measure(conn).model_dump(), (
        "a repeated step decides so again"
    )
    assert facts.golden == 1.0
    assert facts.evaluated is not None
    assert facts.of_others is not None
    assert 0.3 < facts.evaluated < 1, "the refit has moved the towers"
    assert facts.of_others < facts.evaluated / 3
    assert {rule.name for rule in decision.rules} > {
        "served_rows_user_towers",
        "served_ids_movie_vectors",
        "served_distinct_movie_towers",
        "served_content_movie_vectors",
        "served_seen",
        "served_interactions",
        "served_as_recorded",
        "served_as_evaluated",
        "served_to_their_users",
    }


SHUFFLED: LiteralString = (
    "update {table} t set vector = o.vector from {table} o where o.{id} = t.{id} % {n} + 1"
)


@dataclass(frozen=True)
class Mutation:
    """What is done to one table, and the rules that must reject it, each by itself."""

    table: str
    statement: LiteralString
    rules: set[str]
    only: bool = field(default=False)
    """Whether no other rule may fail."""


LISTS = {"served_as_recorded", "served_as_evaluated"}

MUTATIONS = {
    "random users": Mutation(
        "user_towers",
        "update {table} set vector = (select array_agg(random() - 0.5) "
        "from generate_series(1, 64 + 0 * {id}))::real[]::halfvec",
        LISTS,
    ),
    "random movies": Mutation(
        "movie_towers",
        "update {table} set vector = (select array_agg(random() - 0.5) "
        "from generate_series(1, 64 + 0 * {id}))::real[]::halfvec",
        LISTS,
    ),
    "shuffled users": Mutation("user_towers", SHUFFLED, LISTS | {"served_to_their_users"}),
    "shuffled movies": Mutation("movie_towers", SHUFFLED, LISTS),
    "shuffled movie vectors": Mutation(
        "movie_vectors", SHUFFLED, {"served_content_movie_vectors"}, only=True
    ),
    "half of the movies": Mutation(
        "movie_towers",
        "delete from {table} where {id} % 2 = 0",
        {"served_rows_movie_towers", "served_ids_movie_towers"},
    ),
    "half of the movie vectors": Mutation(
        "movie_vectors",
        "delete from {table} where {id} % 2 = 0",
        {"served_rows_movie_vectors", "served_ids_movie_vectors"},
    ),
    "one user": Mutation(
        "user_towers",
        "delete from {table} where {id} <> 1",
        {"served_rows_user_towers", "served_ids_user_towers", "served_seen"},
    ),
    "nothing seen": Mutation("user_towers", "update {table} set seen = '{{}}'", {"served_seen"}),
    "seen by another": Mutation(
        "user_towers",
        "update {table} t set seen = o.seen from {table} o where o.{id} = t.{id} % {n} + 1",
        {"served_seen"},
    ),
    "seen in another order": Mutation(
        "user_towers",
        "update {table} set seen = array(select x from unnest(seen) with ordinality s(x, place) "
        "order by place desc)",
        {"served_seen"},
        only=True,
    ),
    "many rows of one vector": Mutation(
        "movie_towers",
        "insert into {table} select 1000 + i, vector from {table}, generate_series(1, 2000) i "
        "where {id} = 1",
        {
            "served_rows_movie_towers",
            "served_ids_movie_towers",
            "served_distinct_movie_towers",
        },
    ),
    "all movies have one vector": Mutation(
        "movie_towers",
        "update {table} set vector = (select vector from {table} where {id} = 1)",
        {"served_distinct_movie_towers", *LISTS},
    ),
    "all users have one vector": Mutation(
        "user_towers",
        "update {table} set vector = (select vector from {table} where {id} = 1)",
        {"served_distinct_user_towers", *LISTS},
    ),
    "all movie vectors are one": Mutation(
        "movie_vectors",
        "update {table} set vector = (select vector from {table} where {id} = 1)",
        {"served_distinct_movie_vectors", "served_content_movie_vectors"},
        only=True,
    ),
    "negative movies": Mutation(
        "movie_towers", "update {table} set {id} = -{id}", {"served_ids_movie_towers"}
    ),
    "negative users": Mutation(
        "user_towers", "update {table} set {id} = -{id}", {"served_ids_user_towers"}
    ),
    "unknown movies": Mutation(
        "movie_towers",
        "update {table} set {id} = {id} + 1000000 where {id} % 3 = 0",
        {"served_ids_movie_towers"},
    ),
    "unknown movie vectors": Mutation(
        "movie_vectors",
        "insert into {table} select 2000000000, vector from {table} where {id} = 1",
        {"served_ids_movie_vectors", "served_rows_movie_vectors"},
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_changed_table_is_rejected_for_its_reason(
    world: World, conn: Connection, name: str
) -> None:
    mutation = MUTATIONS[name]
    table = contract.public_table(mutation.table)
    rows = world.maker.USERS if table.id_column == "userid" else world.maker.MOVIES
    with conn.transaction(force_rollback=True):
        changed = conn.execute(
            sql.SQL(mutation.statement).format(
                table=sql.Identifier("recsys", contract.table_name(table.name, world.release_id)),
                id=sql.Identifier(table.id_column),
                n=sql.Literal(rows),
            )
        ).rowcount
        assert changed > 0
        decision = world.judge(conn)

    assert not decision.accepted
    assert failed(decision) >= mutation.rules, decision.reason
    if mutation.only:
        assert failed(decision) == mutation.rules, decision.reason


def test_the_decision_of_the_step_has_the_measurements_and_its_rules(world: World) -> None:
    run = pipeline.Run(run_id="run-1", source="s", build=world.maker.build(NUMBER))
    accepted = pipeline.gate_candidate(world.services, run, GateSettings())
    assert accepted.accepted, accepted.reason
    name = contract.table_name("movie_towers", world.release_id)
    with database.connect(world.services.postgres) as conn:
        conn.execute(f"create table recsys.saved as select * from recsys.{name}")
        conn.execute(f"delete from recsys.{name} where movieid > 150")
    rejected = pipeline.gate_candidate(world.services, run, GateSettings())
    with database.connect(world.services.postgres) as conn:
        stored = ledger.last_decision(conn, world.release_id)
        conn.execute(f"truncate recsys.{name}")
        conn.execute(f"insert into recsys.{name} select * from recsys.saved")
    assert not rejected.accepted
    assert stored is not None
    assert stored[0] == rejected
    assert "150 are missing" in rejected.reason


def test_golden_recommendations_that_cannot_be_read_are_rejected(
    world: World, conn: Connection
) -> None:
    release = ledger.get(conn, world.release_id)
    facts = world.measure(conn)
    for changed in ({"golden_users": 0, "golden": None}, {"golden_users": 5}, {"golden": 0.5}):
        assert failed(decide(release, facts.model_copy(update=changed))) == {"served_as_recorded"}


def test_the_served_model_must_know_all_rows_and_the_holdout(
    world: World, conn: Connection
) -> None:
    release, facts = ledger.get(conn, world.release_id), world.measure(conn)
    evaluated = release.complete_manifest.metrics.model.rmse
    assert evaluated is not None

    def failures(facts: ServedFacts, **serving: Any) -> set[str]:
        manifest = copy.copy(release.complete_manifest)
        manifest = manifest.model_copy(
            update={"serving": manifest.serving.model_copy(update=serving)}
        )
        judged = judged_metrics(manifest, release.tables, None, facts)
        return failed(judge(judged, None, GateSettings()))

    assert failures(facts) == set()
    assert failures(facts.model_copy(update={"fitted_to": 1_100})) == {"served_interactions"}
    assert failures(facts, rmse=evaluated - 0.01) == set()
    assert failures(facts, rmse=evaluated + 0.01) == {"served_rmse"}
    # What the pipeline measures counts, not what the trainer says.
    measured = facts.model_copy(update={"rmse": evaluated + 0.01})
    assert failures(measured, rmse=evaluated - 0.01) == {"served_rmse"}


def test_a_release_of_an_earlier_trainer_is_judged_by_what_it_has(services: Services) -> None:
    maker = Releases(services)
    maker.put_features(NUMBER)
    release_id = maker.without_decision(NUMBER)
    world = World(services, maker, release_id)
    with services.connect() as conn:
        facts, decision = world.measure(conn), world.judge(conn)
    assert services.store.head(release_key(release_id, GOLDEN_RECOMMENDATIONS_FILE)) is None
    assert (facts.golden_users, facts.evaluated_users) == (None, None)
    assert decision.accepted, decision.reason
