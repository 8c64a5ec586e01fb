"""Complete releases made without training, for tests of promotion and rollback."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import numpy as np

from recsys import ledger, vectors
from recsys.contract import (
    MANIFEST_FILE,
    MODEL_FILE,
    MOVIE_VECTOR_DIM,
    PUBLIC_TABLES,
    REQUIRED_ARTIFACTS,
    TOWER_DIM,
    Artifact,
    Build,
    Dims,
    Manifest,
    Metrics,
    Serving,
    release_key,
)
from recsys.database import Connection
from recsys.gate import GateSettings, judge
from recsys.ledger import State
from recsys.services import Services
from tests.actors import an_actor
from tests.metrics_maker import GOOD, as_judged

_BUILD = """
insert into recsys.releases
    (release_id, dataset_md5, fingerprint, build, state, run_id, run_nonce, created_at)
select left(md5, 8) || '-' || left(md5, 8), md5, md5 || md5, r.build, 'building',
    'run-old-' || i, r.run_nonce, r.created_at - i * interval '1 day'
from generate_series(1, %(count)s) as i, md5('old release ' || i) as md5, recsys.releases r
where r.release_id = %(like)s
"""
_COMPLETE = """
update recsys.releases r set state = 'candidate', manifest = o.manifest,
    manifest_sha256 = o.manifest_sha256, tables = o.tables, completed_at = r.created_at
from recsys.releases o where r.run_id like 'run-old-%%' and o.release_id = %(like)s
"""
_DECIDE = """
insert into recsys.decisions (release_id, champion, run_id, accepted, decision)
select r.release_id, d.champion, r.run_id, d.accepted, d.decision
from recsys.releases r, recsys.decisions d
where r.run_id like 'run-old-%%' and d.release_id = %(like)s
"""
_MOVE = "update recsys.releases set state = %(state)s where run_id like 'run-old-%%'"


class Releases:
    """Makes complete releases quickly: real tables and objects, but no training."""

    MOVIES = 12
    USERS = 5
    MODEL_REPEATS = 200
    """Repetitions of the number in the bytes of a model, about 8 bytes each."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def build(self, number: int) -> Build:
        return Build(
            dataset_md5=hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest(),
            trainer_digest=f"sha256:{'a' * 64}",
            settings={"number": number},
        )

    def begin(self, number: int) -> str:
        build = self.build(number)
        with self.services.connect() as conn:
            ledger.prepare(conn)
            ledger.begin_build(
                conn, build, run_id=f"run-{number}", run_nonce="n" * 8, actor=an_actor()
            )
        return build.release_id

    def candidate(self, number: int) -> str:
        """Makes a candidate whose vectors and model depend on ``number``; the gate accepts it.

        The decision is against the champion of this moment. If another becomes champion before the
        promotion, `judge` it again.
        """
        release_id = self.without_decision(number)
        self.judge(release_id, f"run-{number}")
        return release_id

    def judge(self, release_id: str, run_id: str = "run") -> None:
        """Records that the gate accepts a release against the champion that is live now."""
        decision = judge(as_judged(GOOD), None, GateSettings())
        assert decision.accepted, decision.reason
        with self.services.connect() as conn:
            champion = ledger.champion(conn)
            against = champion.release_id if champion else None
            against = None if against == release_id else against
            ledger.record_decision(conn, release_id, against, run_id, decision, None)

    def without_decision(self, number: int) -> str:
        """Makes the same release without a decision of the gate."""
        release_id = self.begin(number)
        rng = np.random.default_rng(number)
        with self.services.connect() as conn:
            vectors.enable_vector_extension(conn)
            for table in PUBLIC_TABLES:
                rows = self.USERS if table.id_column == "userid" else self.MOVIES
                made = rng.normal(size=(rows, table.dimension)).astype(np.float32)
                if table.metric == "cosine":
                    made /= np.linalg.norm(made, axis=1, keepdims=True)
                extra = {name: self.histories(rows) for name, _ in table.extra_columns}
                loaded = vectors.load_vectors(
                    conn, table, release_id, np.arange(1, rows + 1, dtype=np.int32), made, extra
                )
                ledger.record_table(
                    conn, release_id, table.name, {"rows": loaded.rows, "digest": loaded.digest}
                )
            manifest = self._manifest(number)
            data = manifest.to_json()
            self.services.store.put_bytes(release_key(release_id, MANIFEST_FILE), data)
            ledger.complete(conn, manifest, hashlib.sha256(data).hexdigest(), actor=an_actor())
        return release_id

    def histories(self, users: int) -> list[list[int]]:
        """Returns the movies that each user has rated, newest first."""
        return [[1]] * users

    def model_bytes(self, number: int) -> bytes:
        return f"model {number} ".encode() * self.MODEL_REPEATS

    def _manifest(self, number: int) -> Manifest:
        build = self.build(number)
        artifacts = []
        for name in sorted(REQUIRED_ARTIFACTS):
            data = self.model_bytes(number) if name == MODEL_FILE else f"{name} {number}".encode()
            key = release_key(build.release_id, name)
            self.services.store.put_bytes(key, data)
            artifacts.append(
                Artifact(
                    name=name, key=key, sha256=hashlib.sha256(data).hexdigest(), size=len(data)
                )
            )
        return Manifest(
            release_id=build.release_id,
            build=build,
            fingerprint=build.fingerprint,
            run_nonce="n" * 8,
            artifacts=tuple(artifacts),
            dims=Dims(movie_vectors=MOVIE_VECTOR_DIM, towers=TOWER_DIM),
            serving=Serving(method="refit", interactions=10, shift_rmse=0.1),
            metrics=Metrics.model_validate(GOOD),
            lineage={},
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
        )


def make_retired(conn: Connection, count: int, like: str) -> None:
    """Makes releases that went through all states until they were retired, without objects."""
    values = {"count": count, "like": like}
    with ledger.acting(conn, an_actor("history")):
        for statement in (_BUILD, _COMPLETE, _DECIDE):
            assert conn.execute(statement, values).rowcount == count
        for state in (State.REJECTED, State.RETIRING, State.RETIRED):
            assert conn.execute(_MOVE, {"state": state.value}).rowcount == count
    conn.execute("analyze")
