"""Complete releases made without training, for tests of promotion and rollback."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys import ledger, vectors
from recsys.contract import (
    EVALUATED_MODEL_FILE,
    EVALUATED_MOVIE_TOWERS_FILE,
    EVALUATED_USER_TOWERS_FILE,
    GOLDEN_DEPTH,
    GOLDEN_FILE,
    GOLDEN_RECOMMENDATIONS_FILE,
    HISTORY_FILE,
    INTERACTIONS_FILE,
    MANIFEST_FILE,
    MEASURED_FILE,
    METRICS_FILE,
    MODEL_FILE,
    MOVIE_TOWERS_FILE,
    MOVIE_VECTOR_DIM,
    MOVIES_FILE,
    PUBLIC_TABLES,
    REQUIRED_ARTIFACTS,
    TOWER_DIM,
    USER_TOWERS_FILE,
    Artifact,
    Build,
    Dims,
    GoldenPredictions,
    GoldenRecommendations,
    Manifest,
    MeasuredMetrics,
    Metrics,
    ServedScores,
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

Vectors = tuple[NDArray[np.integer[Any]], NDArray[np.float32], dict[str, list[list[int]]]]


class Releases:
    """Makes complete releases quickly: real tables and objects, but no training."""

    ARTIFACTS = REQUIRED_ARTIFACTS
    """Those of a trainer of contract 2; `CANDIDATE_ARTIFACTS`: those of contract 3."""
    MOVIES = 12
    USERS = 5
    LINEAGE: ClassVar[Mapping[str, Any]] = {}
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
        stated = self.metrics(1).model_dump(mode="json")
        found = as_judged(GOOD).model_copy(update={"stated": stated, "measured": stated})
        decision = judge(found, None, GateSettings())
        assert decision.accepted, decision.reason
        with self.services.connect() as conn:
            champion = ledger.champion(conn)
            against = champion.release_id if champion else None
            against = None if against == release_id else against
            ledger.record_decision(conn, release_id, against, run_id, decision, None)

    def without_decision(self, number: int) -> str:
        """Makes the same release without a decision of the gate."""
        manifest, sha256 = self.verified(number)
        with self.services.connect() as conn:
            ledger.complete(conn, manifest, sha256, actor=an_actor())
        return manifest.release_id

    def verified(self, number: int) -> tuple[Manifest, str]:
        """Makes all of the same release; the ledger does not call it complete yet.

        Returns:
            The manifest, and the sha256 of its bytes.
        """
        release_id = self.begin(number)
        made = self.vectors(number)
        with self.services.connect() as conn:
            vectors.enable_vector_extension(conn)
            for public in PUBLIC_TABLES:
                table = public.with_ids(self.build(number).features.id_bits)
                loaded = vectors.load_vectors(conn, table, release_id, *made[table.name])
                ledger.record_table(
                    conn, release_id, table.name, {"rows": loaded.rows, "digest": loaded.digest}
                )
            manifest = self._manifest(number)
            data = manifest.to_json()
            self.services.store.put_bytes(release_key(release_id, MANIFEST_FILE), data)
            sha256 = hashlib.sha256(data).hexdigest()
            measured = self.measured(manifest, sha256)
            self.services.store.put_bytes(
                release_key(release_id, MEASURED_FILE), measured.to_json()
            )
        return manifest, sha256

    def histories(self, users: int) -> list[list[int]]:
        """Returns the movies that each user has rated, newest first."""
        return [[1]] * users

    def vectors(self, number: int) -> dict[str, Vectors]:
        """Returns ids, vectors and other columns of each public table."""
        rng = np.random.default_rng(number)
        tables = {}
        for table in PUBLIC_TABLES:
            rows = self.USERS if table.id_column == "userid" else self.MOVIES
            made = rng.normal(size=(rows, table.dimension)).astype(np.float32)
            if table.metric == "cosine":
                made /= np.linalg.norm(made, axis=1, keepdims=True)
            extra = {name: self.histories(rows) for name, _ in table.extra_columns}
            tables[table.name] = (np.arange(1, rows + 1, dtype=np.int32), made, extra)
        return tables

    def evaluated(self, number: int) -> dict[str, Vectors]:
        """Returns the same of the evaluated towers, before a refit."""
        return self.vectors(number)

    def put_features(self, number: int) -> None:
        """Stores interactions that are the users' histories, and all movies."""
        rows = [
            (user, movie, 3.5, 1_000_000 - place, "train")
            for user, movies in enumerate(self.histories(self.USERS), 1)
            for place, movie in enumerate(movies)
        ]
        interactions = pl.DataFrame(
            rows,
            orient="row",
            schema={
                "userId": pl.Int32,
                "movieId": pl.Int32,
                "rating": pl.Float32,
                "timestamp": pl.Int64,
                "split": pl.Categorical,
            },
        ).sort("userId", "timestamp", "movieId")
        movies = pl.DataFrame(
            {"movieId": range(1, self.MOVIES + 1)}, schema={"movieId": pl.Int32}
        ).with_columns(
            title=pl.format("Movie {}", "movieId"),
            year=pl.lit(None, pl.Int16),
            genres=pl.lit([], pl.List(pl.String)),
        )
        for name, frame in ((INTERACTIONS_FILE, interactions), (MOVIES_FILE, movies)):
            self.services.store.put_bytes(self.build(number).features_key(name), parquet(frame))

    def candidate_files(self, number: int) -> dict[str, bytes]:
        """Returns what the served tables are compared with: golden lists, evaluated towers."""
        made, evaluated = self.vectors(number), self.evaluated(number)
        users, movies = made["user_towers"], made["movie_towers"]
        return {
            GOLDEN_RECOMMENDATIONS_FILE: golden(users, movies),
            EVALUATED_MODEL_FILE: self.model_bytes(number),
            **{
                name: parquet(
                    pl.DataFrame(
                        {"id": ids, "vector": matrix, **extra},
                        schema_overrides={
                            "vector": pl.Array(pl.Float32, matrix.shape[1]),
                            **dict.fromkeys(extra, pl.List(pl.Int32)),
                        },
                    )
                )
                for name, (ids, matrix, extra) in (
                    (USER_TOWERS_FILE, users),
                    (MOVIE_TOWERS_FILE, movies),
                    (EVALUATED_USER_TOWERS_FILE, evaluated["user_towers"]),
                    (EVALUATED_MOVIE_TOWERS_FILE, evaluated["movie_towers"]),
                )
            },
        }

    def model_bytes(self, number: int) -> bytes:
        return f"model {number} ".encode() * self.MODEL_REPEATS

    def artifact_bytes(self, name: str, number: int) -> bytes:
        """The bytes of an artifact: valid documents, and else its name and the number."""
        golden = GoldenPredictions(
            user_ids=[1], movie_ids=[1], stars=[1 + number / 1000], keras_version="3"
        )
        documents = {
            MODEL_FILE: self.model_bytes(number),
            METRICS_FILE: self.metrics(number).to_json(),
            HISTORY_FILE: b"{}",
            GOLDEN_FILE: golden.model_dump_json().encode(),
        }
        return documents.get(name, f"{name} {number}".encode())

    def metrics(self, number: int) -> Metrics:
        return Metrics.model_validate(GOOD)

    def measured(self, manifest: Manifest, sha256: str) -> MeasuredMetrics:
        """What a verifier would measure of a release whose trainer states the truth."""
        return MeasuredMetrics(
            release_id=manifest.release_id,
            manifest_sha256=sha256,
            champion=None,
            interactions=manifest.serving.interactions,
            metrics=manifest.metrics,
            served=ServedScores(rmse=0.8, mae=0.6, shift_rmse=manifest.serving.shift_rmse),
            keras_version="3",
            measured_at=datetime(2026, 1, 1, tzinfo=UTC),
        )

    def _manifest(self, number: int) -> Manifest:
        build = self.build(number)
        artifacts = []
        files = {}
        if self.ARTIFACTS != REQUIRED_ARTIFACTS:
            files = self.candidate_files(number)
        for name in sorted(self.ARTIFACTS):
            data = files.get(name) or self.artifact_bytes(name, number)
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
            serving=Serving(
                method="refit",
                interactions=sum(map(len, self.histories(self.USERS))),
                shift_rmse=0.1,
                users=self.USERS,
                movies=self.MOVIES,
            ),
            metrics=self.metrics(number),
            lineage=dict(self.LINEAGE),
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


def golden(users: Vectors, movies: Vectors) -> bytes:
    """Returns the golden recommendations of towers, as the trainer stores them."""
    user_ids, user_vectors, extra = users
    movie_ids, movie_vectors, _ = movies
    best = [
        recommend(movie_ids, vector @ movie_vectors.T, seen)
        for vector, seen in zip(user_vectors, extra["seen"], strict=True)
    ]
    record = GoldenRecommendations(user_ids=user_ids.tolist()[:200], movie_ids=best[:200])
    return record.model_dump_json().encode()


def recommend(
    movie_ids: NDArray[np.int32], scores: NDArray[np.float32], seen: Sequence[int]
) -> list[int]:
    """Returns the best movies that are not in ``seen``."""
    order = movie_ids[np.argsort(-scores, kind="stable")]
    found: list[int] = order[~np.isin(order, seen)][:GOLDEN_DEPTH].tolist()
    return found


def parquet(frame: pl.DataFrame) -> bytes:
    """Returns a table as the content of a parquet file."""
    data = io.BytesIO()
    frame.write_parquet(data)
    return data.getvalue()
