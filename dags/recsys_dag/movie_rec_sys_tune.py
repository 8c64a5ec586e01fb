"""The data scientist's DAG: a search for better settings of the trainer, trials side by side."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, task

from recsys import experiments
from recsys.dataset import needs_s3
from recsys_dag import settings
from recsys_dag.defaults import START_DATE, TAGS, task_defaults

DOC = """
# Better settings for the trainer

Draws settings at random (**plan_trials**), trains with each on an inner split that never sees the
holdout (**measure_trial**, mapped; at most `TRIALS_AT_ONCE` run together), and prints the best
(**choose_settings**) as a value for `RECSYS_BUILD_SETTINGS`. Nothing is promoted by it: with that
value the weekly run makes another build, and the gate judges it. Workers need the trainer's
environment (`RECSYS_TRAINER_PYTHON`) and the extra `tune`. `recsys tune` does the same without
Airflow, one trial after the other, each chosen by what came of those before.
"""
TRIALS_AT_ONCE = 2


@task
def plan_trials(**context: Any) -> list[dict[str, float]]:
    """The settings to try; the first are the trainer's own."""
    params = context["params"]
    objective = experiments.Objective(params["objective"])
    return experiments.plan_trials(objective, params["trials"], params["seed"])


@task(max_active_tis_per_dagrun=TRIALS_AT_ONCE, execution_timeout=timedelta(hours=2))
def measure_trial(overrides: dict[str, float], **context: Any) -> dict[str, Any]:
    """Trains with these settings and measures on the inner split."""
    params = context["params"]
    s3 = settings.services().s3 if needs_s3(params["source"]) else None
    return experiments.measure_trial(
        params["source"],
        experiments.Objective(params["objective"]),
        overrides,
        params["seed"],
        lambda line: print(line, flush=True),
        s3,
    )


@task
def choose_settings(trials: list[dict[str, Any]], **context: Any) -> dict[str, Any]:
    """Prints the best settings; none where the trainer's own are best."""
    import json

    found = experiments.choose_settings(
        experiments.Objective(context["params"]["objective"]), trials
    )
    print(f"{found['objective']}: {found['defaults']:.4f} with the trainer's own settings")
    print(f"{found['objective']}: {found['best']:.4f} with the best")
    print(f"RECSYS_BUILD_SETTINGS='{json.dumps(found['build_settings'])}'")
    return found


with DAG(
    dag_id="movie_rec_sys_tune",
    description="Searches better settings for the trainer; changes nothing by itself",
    doc_md=DOC,
    schedule=None,
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    tags=TAGS,
    default_args=task_defaults(),
    params={
        "source": Param(
            settings.default_source(),
            type="string",
            minLength=1,
            description="zip in MovieLens format, as in movie_rec_sys",
        ),
        "objective": Param("rmse", enum=["rmse", "ndcg@10"], description="what to better"),
        "trials": Param(10, type="integer", minimum=1, maximum=200),
        "seed": Param(20, type="integer", minimum=0),
    },
) as dag:
    measured = measure_trial.expand(overrides=plan_trials())
    choose_settings(measured)  # type: ignore[arg-type]  # what Airflow hands over is the list
