"""The DAG that erases users, on releases that know them; a person has run the pipeline before."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from recsys.contract import ERASURES_PREFIX
from recsys.experiments import find_trainer
from recsys.pipeline import reproduce_release
from recsys.releases import request_erasure, search_everything
from tests.actors import an_actor
from tests.planted_users import PLANTED, PlantedReleases, places, planted_dumps


def test_the_dag_finishes_what_was_requested_and_certifies_it(pipeline, tmp_path: Path) -> None:
    from recsys_dag.recommenders import DAGS

    dag = DAGS["movie_rec_sys_erase"]

    planted = PlantedReleases(pipeline.services, planted_dumps(tmp_path, 1))
    planted.promoted(1)
    request_erasure(pipeline.services, PLANTED, actor=an_actor("ada", "request 7"))
    planted.promoted(2, dump=1)
    # Nobody knows this one, so that no release has to be built.
    outcome = pipeline.run_dag(dag, {"users": [11_111_111], "reason": "request 8"})
    assert outcome.state == "success", outcome.errors
    assert not outcome.ran("build_without_users")
    assert outcome.ran("certify_erasure")
    assert places(pipeline.services, (*PLANTED, 11_111_111)) == []
    assert len(pipeline.services.store.keys(ERASURES_PREFIX)) == 1


def test_the_next_run_of_the_pipeline_finishes_what_is_pending(
    pipeline, small_dataset: Path, tmp_path: Path
) -> None:
    """With real files of the trainer: models, towers, holdouts, report and log."""
    first = pipeline.run(small_dataset)
    assert first.ran("promote_release"), first.errors
    services = pipeline.services
    with services.connect() as conn:
        [(user,)] = conn.execute("select max(userid) from recsys_live.user_towers").fetchall()
    request_erasure(services, [user], actor=an_actor("ada", "request 7"))
    known = {each.name.rpartition("/")[2] for each in search_everything(services).traces}
    assert known >= {
        "dataset.zip",
        "interactions.parquet",
        "model.keras",
        "user_towers.parquet",
        "holdout_predictions.parquet",
    }
    second = pipeline.run(small_dataset)
    assert second.ran("retire_old_releases"), second.errors
    search = search_everything(services)
    assert (search.traces, search.undecoded, search.pending, search.users) == ((), (), 0, 1)
    assert len(search.releases) == 1

    # What was built without the user is made again without the user, from the stored features.
    remade = reproduce_release(services, search.releases[0], find_trainer(), tmp_path)
    apart = [part for part in remade.parts if part.difference and not part.difference.is_none]
    # Intervals are computed together with those of the comparison with the champion, which is not
    # made again, so sums are rounded in another order.
    assert all(part.name == "metrics.json" for part in apart), apart
    assert all((part.difference.largest or 1) < 1e-12 for part in apart), apart
    assert "interactions.parquet" not in {part.name for part in remade.parts}
    assert user not in pl.read_parquet(tmp_path / "out/towers/user_towers.parquet")["id"]
