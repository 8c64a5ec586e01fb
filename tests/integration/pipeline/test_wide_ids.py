"""Ids of 64 bits, from a zip to releases that answer: after one of 32 bits, and back to it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import psycopg
import pytest
from pydantic import SecretStr

from recsys import contract, ledger, moving, pipeline, recommend, releases
from recsys.contract import WIDE, BuildSettings, FeatureSettings, TrainerSettings
from recsys.database import PostgresSettings
from recsys.dataset import write_sample
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from recsys.errors import DatasetError
from recsys.experiments import find_trainer
from recsys.features import DriftSettings, read_drift
from recsys.gate import ForwardSettings, GateSettings
from recsys.pipeline import SMALL, Run, SessionTrainer, predicted_here, trainer_session
from recsys.services import Services
from tests.actors import an_actor
from tests.conftest import fresh_bucket, fresh_database

LENIENT = GateSettings(
    min_ndcg_over_popularity=-0.2,
    min_coverage_over_popularity=0.2,
    max_ndcg_drop=0.9,
    max_sure_ndcg_drop=0.9,
    max_summed_ndcg_drop=0.9,
    max_sure_summed_ndcg_drop=0.9,
    max_slice_ndcg_drop=0.9,
)
"""A tower that is fitted for a second is as good as chance makes it."""
FIRST_USER = 2**62
"""Neighbors of it are one number in a float, and all in one range of 32 bits."""
FIRST_MOVIE = 2**55
SETTINGS = BuildSettings(trainer=TrainerSettings(overrides=SMALL))
WIDE_SETTINGS = BuildSettings(
    features=FeatureSettings(id_bits=WIDE), trainer=TrainerSettings(overrides=SMALL)
)


@dataclass(frozen=True)
class Zips:
    """Two dumps: the later one has ratings and movies that are new, with ids beyond 32 bits."""

    narrow: Path
    wide: Path


def write_zip(path: Path, tables: dict[str, pl.DataFrame]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, table in tables.items():
            archive.writestr(name, table.write_csv())
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    path.with_name(f"{path.name}.md5").write_text(md5)
    return path


@pytest.fixture(scope="module")
def zips(tmp_path_factory: pytest.TempPathFactory) -> Zips:
    """The first years of 150 users and most of the movies; then all years, users and movies."""
    folder = tmp_path_factory.mktemp("wide")
    write_sample(folder / "sample.zip", ratings=30_000, users=200, movies=400)
    with zipfile.ZipFile(folder / "sample.zip") as sample:
        tables = {
            name.rpartition("/")[2]: pl.read_csv(sample.read(name))
            for name in sample.namelist()
            if name.endswith(".csv")
        }
    movies, ratings = tables["movies.csv"], tables["ratings.csv"]
    known = pl.col("movieId") % 4 != 0
    old_user = pl.col("userId") <= 150
    moved = {
        "movieId": pl.when(known).then("movieId").otherwise(pl.col("movieId") + FIRST_MOVIE),
        "userId": pl.when(old_user).then("userId").otherwise(pl.col("userId") + FIRST_USER),
    }
    until = ratings["timestamp"].quantile(0.7)
    first = ratings.filter(old_user & known & (pl.col("timestamp") < until))
    return Zips(
        write_zip(
            folder / "narrow.zip",
            {"movies.csv": movies.filter(known), "ratings.csv": first},
        ),
        write_zip(
            folder / "wide.zip",
            {
                "movies.csv": movies.with_columns(movieId=moved["movieId"]),
                "ratings.csv": ratings.with_columns(**moved),
            },
        ),
    )


def begin(services: Services, source: Path, settings: BuildSettings) -> Run:
    run = pipeline.data_is_new(
        services,
        source=str(source),
        trainer_digest=find_trainer().digest(),
        settings=settings,
        run_id=source.stem,
        force=True,
        actor=an_actor(),
    ).run
    pipeline.fetch_dataset(services, run)
    return run


def release(services: Services, run: Run, trainer: SessionTrainer) -> None:
    pipeline.enable_vector_extension(services)
    pipeline.load_movie_vectors(services, run)
    pipeline.check_vectors(services, run)
    pipeline.train_dl_model(services, run, trainer, lambda line: None)
    pipeline.verify_candidate(services, run, trainer, lambda line: None)
    pipeline.load_towers(services, run)
    decision = pipeline.gate_candidate(services, run, LENIENT)
    assert decision.accepted, decision.reason
    releases.promote_release(services, run.release_id, actor=an_actor(), run_id=run.run_id)


def id_types(services: Services, run: Run) -> dict[str, str]:
    tables = [
        f"recsys.{contract.table_name(table.name, run.release_id)}"
        for table in contract.PUBLIC_TABLES
    ]
    with services.connect() as conn:
        rows = conn.execute(
            "select attname, format_type(atttypid, null) from pg_attribute "
            "where attrelid = any(%s::regclass[]) and attname in ('movieid', 'userid', 'seen')",
            (tables,),
        )
        return dict(rows.fetchall())


def features_of(services: Services, run: Run, name: str) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(services.store.get_bytes(run.build.features_key(name))))


def test_without_the_setting_the_dataset_is_refused_and_the_setting_is_named(
    services: Services, zips: Zips
) -> None:
    run = begin(services, zips.wide, SETTINGS)
    with pytest.raises(DatasetError, match=r"movies\.csv are invalid") as refused:
        pipeline.generate_data_frames(services, run)
    assert "set features.id_bits to 64 in the build settings" in refused.value.hint


def test_a_release_of_64_bits_follows_one_of_32_bits_and_is_rolled_back(
    services: Services,
    zips: Zips,
    tmp_path: Path,
    postgres_server: Postgres,
    s3_server: S3,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with trainer_session(find_trainer()) as trainer:
        narrow = begin(services, zips.narrow, SETTINGS)
        known = pipeline.generate_data_frames(services, narrow)
        release(services, narrow, trainer)
        assert id_types(services, narrow) == {
            "movieid": "integer",
            "userid": "integer",
            "seen": "integer[]",
        }

        wide = begin(services, zips.wide, WIDE_SETTINGS)
        stats = pipeline.generate_data_frames(services, wide)
        assert (stats.users, stats.movies) == (200, 400)
        pipeline.measure_drift(services, wide, DriftSettings(accept=True))
        drift = read_drift(wide.build.features_prefix, narrow.build.dataset_md5, services.store)
        assert drift is not None
        assert drift.new_users == pytest.approx(1 - known.users / 200)
        assert (drift.vanished_users, drift.vanished_movies, drift.changed_pairs) == (0, 0, 0)
        [forward] = pipeline.forward_test(
            services,
            wide,
            ForwardSettings(min_rows=50, min_users=10),
            predicted_here(trainer.predict),
        )
        assert (forward.problem, forward.rows, forward.ranked_users > 0) == (
            "",
            forward.ratings,
            True,
        )
        with psycopg.connect(services.postgres.dsn.get_secret_value(), autocommit=True) as reader:
            check_switch(services, reader, lambda: release(services, wide, trainer))
        assert "have 64 bits now, before 32: readers of the public names" in caplog.text
        assert id_types(services, wide) == {
            "movieid": "bigint",
            "userid": "bigint",
            "seen": "bigint[]",
        }
        check_model(services, wide, trainer, tmp_path)
        check_metrics(services, narrow, wide)
        check_answers(services, wide)

    folder = tmp_path / "moved"
    moving.export_recommender(services, folder, lambda done, total: None)
    with fresh_database(postgres_server) as dsn, fresh_bucket(s3_server) as s3:
        moved = Services(postgres=PostgresSettings(dsn=SecretStr(dsn)), s3=s3)
        moving.import_recommender(
            moved, folder, actor=an_actor(), progress=lambda done, total: None
        )
        assert id_types(moved, wide) == id_types(services, wide)
        assert id_types(moved, narrow) == id_types(services, narrow)
        assert recommend.recommend_for_user(moved, FIRST_USER + 170, 5) == (
            recommend.recommend_for_user(services, FIRST_USER + 170, 5)
        )

    check_erasure(services)
    caplog.clear()
    assert releases.roll_back(services, narrow.release_id, actor=an_actor()).changed
    assert "have 32 bits now, before 64" in caplog.text
    with services.connect() as conn:
        # Who is being erased is hidden in tables of both types.
        shown = conn.execute("select userid from user_towers where userid < 3 order by userid")
        assert (1,) not in shown.fetchall()
    _, movies = recommend.recommend_for_user(services, 1, 5)
    assert all(movie.movie_id < 2**31 for movie in movies)


def check_switch(
    services: Services, reader: psycopg.Connection[tuple[int]], promote: Callable[[], None]
) -> None:
    """A prepared statement fails until it is prepared again, as docs/site-developer.md says."""
    query = "select movieid from movie_vectors order by movieid desc limit 1"
    [(movie,)] = reader.execute(query, prepare=True).fetchall()
    assert movie < 2**31
    promote()
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="must not change result type"):
        reader.execute(query, prepare=True)
    reader.execute("deallocate all")
    reader.prepare_threshold = None
    [(movie,)] = reader.execute(query).fetchall()
    assert movie > FIRST_MOVIE


def check_model(services: Services, wide: Run, trainer: SessionTrainer, work: Path) -> None:
    """The model tells neighbors apart, which are one number in float64."""
    model, asked, answered = work / "model.keras", work / "asked", work / "answered"
    services.store.download(contract.release_key(wide.release_id, contract.MODEL_FILE), model)
    rated = features_of(services, wide, contract.INTERACTIONS_FILE)
    assert rated.schema["userId"] == rated.schema["movieId"] == pl.Int64
    users = rated.filter(pl.col("userId") > FIRST_USER)["userId"].unique().sort()
    pairs = pl.DataFrame({"userId": users}).with_columns(movieId=pl.lit(rated["movieId"].max()))
    pairs.write_parquet(asked)
    trainer.predict(model, asked, answered)
    stars = pl.read_parquet(answered)
    assert stars.select("userId", "movieId").equals(pairs)
    assert stars["prediction"].n_unique() > 0.8 * len(users)
    with services.connect() as conn:
        manifest = ledger.get(conn, wide.release_id).complete_manifest
    assert manifest.requires_backend == "tensorflow"


def check_metrics(services: Services, narrow: Run, wide: Run) -> None:
    """The champion, which knows shorter ids, is measured on what both know."""
    with services.connect() as conn:
        metrics = ledger.get(conn, wide.release_id).complete_manifest.metrics
    assert metrics.champion is not None
    assert metrics.champion.release_id == narrow.release_id
    # Whom it does not know it predicts for, but recommends nothing to.
    assert 50 < metrics.champion.ranked_users < metrics.champion.users == metrics.holdout.users
    assert metrics.model.rmse is not None
    assert metrics.baselines.global_mean.rmse is not None
    assert metrics.model.rmse < metrics.baselines.global_mean.rmse


def check_answers(services: Services, wide: Run) -> None:
    rated = features_of(services, wide, contract.INTERACTIONS_FILE)
    for user in (1, FIRST_USER + 151, FIRST_USER + 200):
        _, movies = recommend.recommend_for_user(services, user, 400)
        seen = set(rated.filter(pl.col("userId") == user)["movieId"])
        assert len(movies) == 400 - len(seen)
        assert not seen & {movie.movie_id for movie in movies}
        assert all(not movie.title.startswith("movie ") for movie in movies)
    largest = rated["movieId"].max()
    _, named, similar = recommend.find_similar_movies(services, str(largest), 5)
    assert (named[0].movie_id, len(similar)) == (largest, 5)
    assert largest not in {movie.movie_id for movie in similar}


def check_erasure(services: Services) -> None:
    user = FIRST_USER + 170
    assert releases.request_erasure(services, [user, 1], actor=an_actor()) == [1, user]
    with services.connect() as conn:
        hidden = "select userid from user_towers where userid = any(%s) order by userid"
        assert conn.execute(hidden, ([1, 2, user, user + 1],)).fetchall() == [(2,), (user + 1,)]
    status = releases.finish_erasures(services, actor=an_actor())
    assert (status.champion_knows, status.pending, len(status.knowing)) == (True, 2, 2)
