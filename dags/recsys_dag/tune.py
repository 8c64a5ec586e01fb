"""The DAG for data scientists: random search for better trainer settings, trials in parallel."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Param, task

from recsys import experiments, recommenders
from recsys.dataset import needs_s3
from recsys_dag import descriptions, run_alerts, settings
from recsys_dag.defaults import START_DATE, tags, task_defaults
from recsys_dag.masking import hide_source_secrets

if TYPE_CHECKING:
    from recsys.recommenders import Description

DOC = """
# Better settings for the trainer

1. **plan_trials** draws settings at random.
2. **measure_trial** trains with each of them on an inner split without the holdout; two trials
   run in parallel.
3. **choose_settings** prints the settings to build with: the field `build` for the recommender's
   description, or a value for `RECSYS_BUILD_SETTINGS`.

This DAG promotes nothing. With these settings the weekly run makes a new build, which the gate
judges. Workers need the trainer's environment (`RECSYS_TRAINER_PYTHON`) and
the extra `tune`. `recsys tune` searches without Airflow: each trial is chosen from the results so
far.
"""
TRIALS_AT_ONCE = 2


@task
def plan_trials(**context: Any) -> list[dict[str, float]]:
    """Draws the settings to try; the first trial has the trainer's defaults."""
    params = context["params"]
    objective = experiments.Objective(params["objective"])
    return experiments.plan_trials(objective, params["trials"], params["seed"])


@task(max_active_tis_per_dagrun=TRIALS_AT_ONCE, execution_timeout=timedelta(hours=2))
def measure_trial(overrides: dict[str, float], **context: Any) -> dict[str, Any]:
    """Trains with the settings and measures the objective on the inner split."""
    params, recommender = context["params"], descriptions.of(context)
    hide_source_secrets(params["source"], recommender.connections.source)
    s3 = settings.services(recommender).s3 if needs_s3(params["source"]) else None
    return experiments.measure_trial(
        params["source"],
        experiments.Objective(params["objective"]),
        overrides,
        params["seed"],
        lambda line: print(line, flush=True),
        s3,
        settings.fetch_settings(recommender, params["source"]),
        settings.build_settings(recommender, {}).features,
    )


@task
def choose_settings(trials: list[dict[str, Any]], **context: Any) -> dict[str, Any]:
    """Prints the best settings; empty if the trainer's defaults are best."""
    recommender = descriptions.of(context)
    found = experiments.choose_settings(
        experiments.Objective(context["params"]["objective"]), trials
    )
    own = settings.build_settings(recommender, {})
    built = experiments.with_overrides(own, found.pop("overrides"))
    print(f"{found['objective']}: {found['defaults']:.4f} with the trainer's default settings")
    print(f"{found['objective']}: {found['best']:.4f} with the best settings")
    print(recommenders.build_text(recommender, built))
    return {**found, "build_settings": built.model_dump(mode="json", exclude_defaults=True)}


def make_tune_dag(recommender: Description) -> DAG:
    """Makes the DAG that searches for better settings of a recommender's trainer."""
    with DAG(
        dag_id=recommender.namespace.tune_dag,
        description="Searches for better trainer settings; promotes nothing",
        doc_md=DOC,
        schedule=None,
        start_date=START_DATE,
        catchup=False,
        max_active_runs=1,
        on_failure_callback=run_alerts.alert_run_failed,
        tags=tags(recommender),
        default_args=task_defaults(recommender),
        params={
            "source": Param(
                settings.default_source(recommender),
                type="string",
                minLength=1,
                title="Dataset",
                description=f"Zip in MovieLens format, as in {recommender.name}",
            ),
            "objective": Param(
                "rmse",
                enum=["rmse", "ndcg@10"],
                title="Objective",
                description="Metric to optimize",
            ),
            "trials": Param(
                10,
                type="integer",
                minimum=1,
                maximum=200,
                title="Trials",
                description="Number of trainings",
            ),
            "seed": Param(
                20,
                type="integer",
                minimum=0,
                title="Seed",
                description="Seed of the drawn settings and of the trainings",
            ),
        },
    ) as dag:
        measured = measure_trial.expand(overrides=plan_trials())
        choose_settings(measured)  # type: ignore[arg-type]  # at run time it is the list
    return dag
