"""The whole DAG, by real Airflow, on real PostgreSQL, S3 and Keras."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import stat
from pathlib import Path

import pytest

from recsys import contract, ledger, monitoring, recommend, releases
from recsys.experiments import find_trainer
from recsys.ledger import State
from recsys.pipeline import ReproductionVerdict, reproduce_release
from recsys.releases import promotion
from recsys.trainer_process import LocalTrainer
from tests.actors import an_actor
from tests.broken_datasets import break_md5, corrupt_rows, lose_md5, md5_of, rewrite_md5, truncate
from tests.e2e.conftest import brief_settings


def live(pipeline) -> str | None:
    champion = monitoring.read_status(pipeline.services)["champion"]
    return champion["release_id"] if champion else None


def assert_untouched(pipeline, release_id: str | None) -> None:
    """Production is a whole pair of this release (or of none)."""
    with pipeline.services.connect() as conn:
        champion = ledger.champion(conn)
        assert (champion.release_id if champion else None) == release_id
        assert releases.public_copies_match(pipeline.services.store, champion)
    assert monitoring.problems(pipeline.services) == []


def test_a_release_lives_through_new_unchanged_forced_changed_and_rejected_runs(
    pipeline, small_dataset, changed_dataset, monkeypatch, tmp_path
):
    first = pipeline.run(small_dataset)
    assert first.state == "success", first.errors
    assert first.ran("promote_release")
    assert first.ran("retire_old_releases")
    assert first.tasks["reject_candidate"] == first.tasks["approve_release"] == "skipped"
    one = live(pipeline)
    assert one is not None
    assert one[:8] in small_dataset.with_name("small.zip.md5").read_text()
    assert_untouched(pipeline, one)
    with pipeline.services.connect() as conn:
        decision, diff = ledger.last_decision(conn, one)
        assert decision.accepted
        assert diff is None, "there is nothing to hold the first release against"
        [recorded] = ledger.run_events(conn, [ledger.Action.PRODUCTION_UPDATED], 10)
    assert recorded["release_id"] == one
    known = recommend.most_rated_movie(pipeline.services)
    _, _, neighbours = recommend.find_similar_movies(pipeline.services, str(known), 5)
    assert len({m.movie_id for m in neighbours} - {known}) == 5
    _, movies = recommend.recommend_for_user(pipeline.services, 1, 5)
    assert len(movies) == 5

    # The champion is the same bytes again: features, vectors and models.
    trainer = find_trainer()
    remade = reproduce_release(pipeline.services, one, trainer, tmp_path)
    assert remade.verdict is ReproductionVerdict.IDENTICAL, remade.parts
    assert {part.name for part in remade.parts} > {
        *("interactions.parquet", "movie_vectors", "model.keras", "metrics.json"),
        *("towers/user_towers.parquet", "evaluated/model.keras"),
    }
    assert remade.environment == ()

    unchanged = pipeline.run(small_dataset)
    assert unchanged.state == "success"
    assert unchanged.reason == "this build is the champion"
    assert unchanged.ran("do_nothing")
    assert unchanged.tasks["fetch_dataset"] == "skipped"

    forced = pipeline.run(small_dataset, force=True)
    assert forced.state == "success", forced.errors
    assert forced.ran("promote_release")
    assert_untouched(pipeline, one)

    rejected = pipeline.run(changed_dataset, gate_min_ndcg_over_popularity=1)
    assert rejected.state == "success", rejected.errors
    assert rejected.ran("reject_candidate")
    assert rejected.tasks["promote_release"] == "skipped"
    assert_untouched(pipeline, one)
    again = pipeline.run(changed_dataset)
    assert again.reason == "this build was rejected"
    assert again.ran("do_nothing")

    accepted = pipeline.run(changed_dataset, force=True)
    assert accepted.ran("promote_release"), (accepted.reason, accepted.errors)
    two = live(pipeline)
    assert two not in (None, one)
    with pipeline.services.connect() as conn:
        _, diff = ledger.last_decision(conn, two)
    assert diff["champion"] == one
    assert 0 < diff["neighbour_overlap"] < 1
    assert_untouched(pipeline, two)

    releases.roll_back(pipeline.services, actor=an_actor("operator", "test"))
    assert_untouched(pipeline, one)
    after = pipeline.run(changed_dataset)
    assert after.reason == "this build was rolled back"
    assert_untouched(pipeline, one)

    monkeypatch.setenv("RECSYS_BUILD_SETTINGS", brief_settings(seed=21))
    retrained = pipeline.run(small_dataset)
    assert retrained.ran("train_dl_model"), retrained.errors
    assert live(pipeline) not in (None, one, two)


@pytest.fixture
def untried_build(monkeypatch) -> None:
    """Settings that no run has had before, so that the trainer has something to do."""
    monkeypatch.setenv("RECSYS_BUILD_SETTINGS", brief_settings(seed=next(_SEEDS)))


_SEEDS = itertools.count(1000)


@pytest.mark.parametrize(
    ("harm", "task", "says", "tries"),
    [
        # The zip of this md5 may still be on its way. A scheduler would try for hours.
        (break_md5, "fetch_dataset", "md5", 4),
        (lose_md5, "data_is_new", "md5", 1),
        (truncate, "fetch_dataset", "zip", 1),
        (corrupt_rows, "generate_data_frames", "rating_range", 1),
    ],
)
def test_bad_data_fails_clearly_and_the_next_good_run_succeeds(
    served, changed_dataset, tmp_path, harm, task, says, tries
):
    champion = live(served)
    source = tmp_path / "data.zip"
    for suffix in ("", ".md5"):
        shutil.copy(f"{changed_dataset}{suffix}", f"{source}{suffix}")
    rewrite_md5(source)
    harm(source)
    outcome = served.run(source)
    assert outcome.state == "failed"
    assert list(outcome.errors) == [task]
    assert says in outcome.errors[task]
    assert outcome.tries[task] == tries, "a permanent error is not tried again"
    assert_untouched(served, champion)

    shutil.copy(changed_dataset, source)
    rewrite_md5(source)
    good = served.run(source)
    # The first of these tests promotes the repaired dataset; for the others it is the champion.
    assert good.state == "success", good.errors
    assert good.ran("promote_release") or good.ran("do_nothing")
    assert_untouched(served, live(served))
    assert monitoring.read_status(served.services)["champion"]["dataset_md5"] == md5_of(
        changed_dataset
    )


def test_an_unreachable_source_is_an_error_and_is_tried_again(served):
    champion = live(served)
    outcome = served.run("http://127.0.0.1:9/data.zip")
    assert outcome.state == "failed"
    assert list(outcome.errors) == ["data_is_new"]
    assert outcome.tries["data_is_new"] == 4
    assert_untouched(served, champion)


TRAINER_FAILURES = {
    "exits with bad data": ("exit 65", "BAD_DATA", 1),
    "exits with an unknown code": ("exit 3", "not in the contract", 1),
    "is killed": ("kill -9 $$", "killed by signal 9", 4),
}


@pytest.mark.parametrize("name", TRAINER_FAILURES)
def test_a_failing_trainer_leaves_production_untouched(
    served, untried_build, changed_dataset, tmp_path, monkeypatch, name
):
    champion = live(served)
    script, says, tries = TRAINER_FAILURES[name]
    monkeypatch.setenv("RECSYS_TRAINER_PYTHON", str(executable(tmp_path, script)))
    outcome = served.run(changed_dataset)
    assert outcome.state == "failed"
    assert list(outcome.errors) == ["train_dl_model"]
    assert says in outcome.errors["train_dl_model"]
    assert outcome.tries["train_dl_model"] == tries
    assert_untouched(served, champion)


def test_a_trainer_that_writes_no_manifest_is_caught(
    served, untried_build, changed_dataset, tmp_path, monkeypatch
):
    champion = live(served)
    with monkeypatch.context() as patched:
        patched.setenv("RECSYS_TRAINER_PYTHON", str(executable(tmp_path, "exit 0")))
        outcome = served.run(changed_dataset)
    assert outcome.state == "failed"
    assert list(outcome.errors) == ["verify_candidate"]
    assert "has no manifest" in outcome.errors["verify_candidate"]
    assert_untouched(served, champion)

    good = served.run(changed_dataset)
    assert good.ran("promote_release"), (good.reason, good.errors)


def executable(folder: Path, script: str) -> Path:
    """Stands where the trainer's interpreter is expected."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_an_artifact_changed_by_one_byte_never_becomes_a_candidate(
    served, untried_build, changed_dataset, monkeypatch
):
    """The model is changed between training and verification."""
    champion = live(served)
    run = LocalTrainer.run

    def run_then_damage(self, subcommand, given, *args, **kwargs):
        run(self, subcommand, given, *args, **kwargs)
        if subcommand == "train":
            key = given.inbox_key(contract.MODEL_FILE)
            data = bytearray(served.services.store.get_bytes(key))
            data[len(data) // 2] ^= 1
            served.services.store.put_bytes(key, bytes(data))

    monkeypatch.setattr(LocalTrainer, "run", run_then_damage)
    outcome = served.run(changed_dataset)
    assert outcome.state == "failed"
    assert list(outcome.errors) == ["verify_candidate"]
    assert "differs from its manifest" in outcome.errors["verify_candidate"]
    assert_untouched(served, champion)


@pytest.mark.parametrize(
    ("connection", "value", "says"),
    [
        ("AIRFLOW_CONN_RECSYS_PG_VECTOR_BACKEND", "postgres://u:p@127.0.0.1:9/x", "PostgreSQL"),
        (
            "AIRFLOW_CONN_RECSYS_S3",
            '{"conn_type": "aws", "login": "a", "password": "b", "extra": '
            '{"endpoint_url": "http://127.0.0.1:9", "bucket_name": "xyz"}}',
            "S3 does not answer",
        ),
    ],
)
def test_a_server_that_is_down_is_named(
    pipeline, small_dataset, monkeypatch, connection, value, says
):
    monkeypatch.setenv("RECSYS_S3_MAX_ATTEMPTS", "2")
    monkeypatch.setenv(connection, value)
    outcome = pipeline.run(small_dataset)
    assert outcome.state == "failed"
    [error] = outcome.errors.values()
    assert says in error


def test_a_promotion_that_fails_before_its_commit_heals_on_the_next_run(
    served, untried_build, changed_dataset, monkeypatch
):
    champion = live(served)

    def fail(*args, **kwargs):
        raise RuntimeError("something nobody thought of")

    with monkeypatch.context() as patched:
        patched.setattr(promotion, "commit_change", fail)
        outcome = served.run(changed_dataset)
    assert outcome.state == "failed"
    assert list(outcome.errors) == ["promote_release"]
    assert_untouched(served, champion)

    good = served.run(changed_dataset)
    assert good.ran("promote_release")
    with served.services.connect() as conn:
        assert ledger.get(conn, champion).state == State.SUPERSEDED


def test_an_open_run_keeps_its_build_from_being_abandoned(served):
    from airflow.models import DagRun
    from airflow.settings import Session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    from recsys_dag.recommenders import DAGS

    recover = DAGS["movie_rec_sys_recover"]

    builds = {}
    with Session() as session, served.services.connect() as conn:
        for run_state in (DagRunState.RUNNING, DagRunState.QUEUED, DagRunState.FAILED):
            session.add(
                DagRun(
                    dag_id="movie_rec_sys",
                    run_id=f"long-{run_state}",
                    run_type=DagRunType.MANUAL,
                    state=run_state,
                    triggered_by=DagRunTriggeredByType.TEST,
                )
            )
            build = contract.Build(
                dataset_md5=hashlib.md5(run_state.encode(), usedforsecurity=False).hexdigest(),
                trainer_digest=f"sha256:{'c' * 64}",
                settings={},
            )
            ledger.begin_build(
                conn, build, run_id=f"long-{run_state}", run_nonce="n" * 8, actor=an_actor()
            )
            builds[run_state] = build.release_id
        session.commit()
        conn.execute(
            "update recsys.releases set changed_at = now() - interval '3 days' "
            "where release_id = any(%s)",
            (list(builds.values()),),
        )
    try:
        outcome = served.run_dag(recover, {})
        assert outcome.state == "success", outcome.errors
        with served.services.connect() as conn:
            found = {run_state: ledger.get(conn, builds[run_state]).state for run_state in builds}
    finally:
        with Session() as session:
            session.query(DagRun).filter(DagRun.run_id.like("long-%")).delete()
            session.commit()
    assert found == {
        DagRunState.RUNNING: State.BUILDING,
        DagRunState.QUEUED: State.BUILDING,
        DagRunState.FAILED: State.RETIRED,
    }
    with served.services.connect() as conn:
        for run_state in (DagRunState.RUNNING, DagRunState.QUEUED):
            ledger.move(conn, builds[run_state], State.ABANDONED, actor=an_actor())


def test_the_operators_dags_recover_and_roll_back(served):
    from airflow.sdk.exceptions import ParamValidationError

    from recsys_dag.recommenders import DAGS

    recover = DAGS["movie_rec_sys_recover"]
    from recsys_dag.recommenders import DAGS

    rollback = DAGS["movie_rec_sys_rollback"]

    champion = live(served)
    with served.services.connect() as conn:
        before = ledger.previous_champion(conn)
    assert before is not None, "earlier tests of this module promoted twice"

    served.services.store.put_bytes(contract.PUBLIC_MODEL_KEY, b"torn")
    healed = served.run_dag(recover, {})
    assert healed.state == "success", healed.errors
    assert_untouched(served, champion)

    with pytest.raises(ParamValidationError, match="reason"):
        served.run_dag(rollback, {"reason": None})
    unknown = served.run_dag(rollback, {"release": "00000000-00000000", "reason": "test"})
    assert unknown.state == "failed"
    assert "is not in the ledger" in unknown.errors["roll_back"]
    assert_untouched(served, champion)

    back = served.run_dag(rollback, {"release": before.release_id, "reason": "complaints"})
    assert back.state == "success", back.errors
    assert_untouched(served, before.release_id)
