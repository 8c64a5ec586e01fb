"""A build that was never judged is made again; a build that a run works on is not abandoned."""

from __future__ import annotations

import hashlib
import importlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys import ledger, pipeline
from recsys.contract import MOVIE_VECTOR_DIM, PUBLIC_TABLES, BuildSettings
from recsys.dataset import write_sample
from recsys.errors import DatasetError, LedgerError, UnmatchedDatasetError
from recsys.gate import GateSettings, judge
from recsys.ledger import State
from recsys.pipeline import Run, Verdict
from recsys.pipeline.tables import load_table
from recsys.releases import RetentionSettings, retire_old_releases
from recsys.services import Services
from recsys.vectors import enable_vector_extension
from tests.actors import an_actor
from tests.metrics_maker import GOOD, as_judged
from tests.release_maker import Releases


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "data.zip"
    write_sample(path, ratings=500)
    return path


def look(services: Services, source: Path, run_id: str) -> Verdict:
    """The task data_is_new of a run."""
    return pipeline.data_is_new(
        services,
        source=str(source),
        trainer_digest=f"sha256:{'a' * 64}",
        settings=BuildSettings(),
        run_id=run_id,
        force=False,
        actor=an_actor("airflow", "the run looked for a new build"),
    )


def be_idle(services: Services, hours: float) -> None:
    """Lets hours pass since anything has worked on any build."""
    with services.connect() as conn:
        conn.execute(
            "update recsys.releases set changed_at = changed_at - make_interval(mins => %s)",
            (int(hours * 60),),
        )


def retire(services: Services, keep: int = 0) -> None:
    retire_old_releases(services, RetentionSettings(keep_releases=keep), actor=an_actor())


def state(services: Services, run: Run) -> State:
    with services.connect() as conn:
        return ledger.get(conn, run.release_id).state


def contents(services: Services) -> tuple[set[str], list[str]]:
    """The tables of the ledger's schema, and the objects of the bucket."""
    with services.connect() as conn:
        tables = conn.execute(
            "select relname from pg_class where relnamespace = 'recsys'::regnamespace"
        )
        return {name for (name,) in tables}, sorted(services.store.keys(""))


def test_a_build_that_no_run_has_judged_is_made_again_after_its_retirement(
    services: Services, source: Path
) -> None:
    first = look(services, source, "one")
    be_idle(services, 25)
    retire(services)
    assert state(services, first.run) == State.RETIRED

    again = look(services, source, "two")
    assert (again.is_new, again.reason) == (True, "no run has judged it yet")
    assert state(services, again.run) == State.BUILDING
    with services.connect() as conn:
        assert ledger.last_success(conn) is None, "a run that failed does not count as fresh"

        decision = judge(as_judged(GOOD), None, GateSettings())
        ledger.record_decision(conn, again.run.release_id, None, "two", decision, None)
    be_idle(services, 25)
    retire(services)
    judged = look(services, source, "three")
    assert (judged.is_new, judged.reason) == (False, "this build was judged and retired")


def test_a_zip_that_comes_days_after_its_md5_is_fetched_by_the_next_run(
    services: Services, source: Path, tmp_path: Path
) -> None:
    late = tmp_path / "data.zip"
    late.with_name("data.zip.md5").write_bytes(source.with_name("data.zip.md5").read_bytes())
    late.write_bytes(b"half of it")
    run = look(services, late, "one").run
    with pytest.raises(UnmatchedDatasetError):
        pipeline.fetch_dataset(services, run)
    be_idle(services, 7 * 24)
    retire(services)
    late.write_bytes(source.read_bytes())
    verdict = look(services, late, "two")
    assert verdict.is_new
    assert pipeline.fetch_dataset(services, verdict.run).fetched


def test_an_open_run_keeps_its_build_however_long_it_takes(
    services: Services, source: Path
) -> None:
    run = look(services, source, "one").run
    for _ in range(3):
        be_idle(services, 25)
        assert pipeline.keep_open_builds(services, lambda run_id: run_id == "one") == ["one"]
        retire(services)
        assert state(services, run) == State.BUILDING
    be_idle(services, 25)
    assert pipeline.keep_open_builds(services, lambda run_id: False) == []
    retire(services)
    assert state(services, run) == State.RETIRED


def test_each_step_of_a_run_keeps_its_build(services: Services, source: Path) -> None:
    run = look(services, source, "one").run
    be_idle(services, 25)
    pipeline.fetch_dataset(services, run)
    retire(services)
    assert state(services, run) == State.BUILDING


def load_some_table(services: Services, run: Run) -> None:
    ids = np.arange(1, 3, dtype=np.int32)
    vectors = np.ones((2, MOVIE_VECTOR_DIM), dtype=np.float32)
    load_table(services, run, PUBLIC_TABLES[0], ids, vectors, {})


STEPS = {
    "fetch_dataset": pipeline.fetch_dataset,
    "generate_data_frames": pipeline.generate_data_frames,
    "load_movie_vectors": pipeline.load_movie_vectors,
    "load_table": load_some_table,
    "train_dl_model": pipeline.begin_training,
    "verify_candidate": pipeline.check_candidate,
    "load_towers": pipeline.load_towers,
    "gate_candidate": lambda services, run: pipeline.gate_candidate(services, run, GateSettings()),
}


def test_a_cleared_task_of_an_abandoned_run_says_why_not_and_leaves_nothing(
    services: Services, source: Path
) -> None:
    run = look(services, source, "one").run
    be_idle(services, 25)
    retire(services, keep=9)
    before = contents(services)
    for name, step in STEPS.items():
        with pytest.raises(LedgerError, match="cannot continue") as caught:
            step(services, run)
        assert "data_is_new" in caught.value.hint, name
        assert contents(services) == before, name

    # What the message says heals it.
    assert look(services, source, "one").is_new
    assert pipeline.fetch_dataset(services, run).fetched


def test_a_candidate_is_kept_while_a_run_that_works_on_it_is_open(
    services: Services, releases: Releases
) -> None:
    """It waits for an approval, in the run that made it or in one that judged it again."""
    made, judged = (releases.candidate(number) for number in (1, 2))
    releases.judge(judged, "judged-again")
    open_runs = {"run-1", "judged-again"}

    def states() -> list[State]:
        with services.connect() as conn:
            return [ledger.get(conn, release_id).state for release_id in (made, judged)]

    for _ in range(2):
        be_idle(services, 8 * 24)
        assert set(pipeline.keep_open_builds(services, open_runs.__contains__)) == open_runs
        retire(services)
        assert states() == [State.CANDIDATE, State.CANDIDATE]
    be_idle(services, 6 * 24)
    retire(services)
    assert states() == [State.CANDIDATE, State.CANDIDATE], "a person may promote it for a week"
    be_idle(services, 2 * 24)
    retire(services)
    assert states() == [State.RETIRED, State.RETIRED]


def test_a_long_job_outside_of_this_process_keeps_its_build(
    services: Services, source: Path
) -> None:
    run = look(services, source, "one").run
    rare = pipeline.Heartbeat(services, run, interval_s=3600)
    rare.beat()
    be_idle(services, 25)
    rare.beat()
    with services.connect() as conn:
        assert ledger.get(conn, run.release_id).changed_at < datetime.now(UTC) - timedelta(hours=24)
    heartbeat = pipeline.Heartbeat(services, run, interval_s=0)
    heartbeat.beat()
    retire(services)
    assert state(services, run) == State.BUILDING
    be_idle(services, 25)
    retire(services)
    with pytest.raises(LedgerError, match="cannot continue"):
        heartbeat.beat()


def test_a_step_that_ends_after_its_release_was_retired_leaves_nothing(
    services: Services, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cleared task began just before, or a machine was suspended."""
    vectors = np.eye(3, MOVIE_VECTOR_DIM, dtype=np.float32)
    run = look(services, source, "one").run

    def retire_first(*_: object) -> None:
        be_idle(services, 25)
        retire(services)
        assert state(services, run) == State.RETIRED

    def load() -> object:
        return load_table(services, run, PUBLIC_TABLES[0], np.arange(1, 4), vectors, {})

    steps = {
        ("recsys.dataset", "fetch_dataset"): lambda: pipeline.fetch_dataset(services, run),
        ("recsys.features", "generate_data_frames"): lambda: pipeline.generate_data_frames(
            services, run
        ),
        ("recsys.vectors", "load_vectors"): load,
    }
    with services.connect() as conn:
        enable_vector_extension(conn)
    for (module, name), step in steps.items():
        look(services, source, "again")
        pipeline.fetch_dataset(services, run)
        original = getattr(importlib.import_module(module), name)

        def late(*args: Any, original: Any = original, **named: Any) -> Any:
            result = original(*args, **named)
            retire_first()
            if original.__name__ != "load_vectors":
                # As if the step had written after the retirement.
                services.store.put_bytes(run.build.features_key("late"), b"")
                services.store.put_bytes(f"datasets/{run.build.dataset_md5}/late", b"")
            else:
                result = original(*args, **named)
            return result

        with monkeypatch.context() as patch:
            patch.setattr(f"{module}.{name}", late)
            with pytest.raises(LedgerError, match="cannot continue"):
                step()
        assert services.store.keys("features/") == services.store.keys("datasets/") == []
        with services.connect() as conn:
            found = conn.execute(
                "select from pg_tables where schemaname = 'recsys' and tablename ~ '^movie_vectors'"
            ).fetchall()
        assert found == []


def test_the_release_of_a_refused_dataset_is_abandoned(services: Services, tmp_path: Path) -> None:
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"no zip at all")
    md5 = hashlib.md5(bad.read_bytes(), usedforsecurity=False).hexdigest()
    bad.with_name("bad.zip.md5").write_text(f"{md5}  bad.zip\n")
    run = look(services, bad, "refused").run
    with pytest.raises(DatasetError) as refused:
        pipeline.fetch_dataset(services, run)
    with services.connect() as conn:
        assert ledger.get(conn, run.release_id).state == State.ABANDONED
        [why, *_] = ledger.history(conn, run.release_id)
    assert why["to_state"] == "abandoned"
    assert refused.value.message in why["reason"]
    # A new run of the same build begins it again.
    assert look(services, bad, "again").is_new


def test_what_a_stopped_run_was_building_is_abandoned_and_nothing_else(
    services: Services, source: Path
) -> None:
    run = look(services, source, "stopped").run
    with services.connect() as conn:
        assert ledger.abandon_run(conn, "another", actor=an_actor()) == []
        assert ledger.abandon_run(conn, "stopped", actor=an_actor()) == [run.release_id]
        assert ledger.get(conn, run.release_id).state == State.ABANDONED
        assert ledger.abandon_run(conn, "stopped", actor=an_actor()) == []
