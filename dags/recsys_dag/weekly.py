"""The weekly DAG: from a new dataset to a promoted release. Wiring only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import (
    DAG,
    Asset,
    AssetOrTimeSchedule,
    AssetWatcher,
    CronTriggerTimetable,
    TaskGroup,
    TriggerRule,
    chain,
)
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from recsys_dag import failures, run_alerts, settings, tasks, timeouts
from recsys_dag.approval import ReleaseApproval
from recsys_dag.assets import release_outlet
from recsys_dag.defaults import START_DATE, tags, task_defaults
from recsys_dag.features.task import features_task
from recsys_dag.params import pipeline_params
from recsys_dag.placement import placement
from recsys_dag.trainer.task import stars_task, trainer_task
from recsys_dag.triggers import DatasetMd5Trigger

if TYPE_CHECKING:
    from recsys.recommenders import Description

_DEFAULT_SCHEDULE: Final = "0 4 * * 1"
_DOC: Final = """
# {title}: from a new dataset to a promoted release

Runs {when}, and whenever the md5 file of the dataset changes.

1. **recover_promotion** repairs what an interrupted promotion left behind.
2. **data_is_new** compares the dataset, the trainer and the settings with earlier builds. If this
   build was judged before, the run ends at **do_nothing**.
3. **fetch_dataset** downloads the zip and checks its md5; **generate_data_frames** validates its
   rows and puts invalid ones into quarantine.
   **forward_test** tests the champion on the ratings that are newer than all it was made from. If
   the trainer runs in containers or pods, **predict_newer_ratings** predicts their stars before.
4. In parallel, movie vectors are loaded into pgvector (**load_movie_vectors**), and the trainer
   makes the model and the towers (**train_dl_model**).
5. **gate_candidate** compares the candidate with baselines and the champion.
6. **promote_release** switches model and vectors as one pair. If the gate rejects the candidate,
   **reject_candidate** records why and production does not change; such a run is a success.
   In both cases **write_report** writes one HTML page about the release.

Trigger the DAG with *force* to judge a build again, or with *require_approval* to approve the
promotion yourself. `recsys status` shows what is live; `recsys why` shows why.
"""


def make_weekly_dag(recommender: Description) -> DAG:
    """Makes the DAG that makes releases of a recommender."""
    names, heavy = recommender.namespace, placement("features", recommender)
    # No URI: to resolve its scheme, Airflow would import all providers that register one.
    dataset_md5 = Asset(
        name=names.dataset_asset,
        watchers=[
            AssetWatcher(
                name=f"{names.dataset_asset}_watcher",
                trigger=DatasetMd5Trigger(
                    settings.default_source(recommender),
                    settings.poll_interval(),
                    recommender.connections.s3,
                    recommender.connections.source,
                ),
            )
        ],
    )
    limits = timeouts.timeouts(recommender)

    with DAG(
        dag_id=names.weekly_dag,
        description=f"Retrains the {_within_sentence(recommender.title)}; "
        "promotes model and vectors as one pair",
        doc_md=_DOC.format(title=recommender.title, when=_when(recommender.schedule)),
        schedule=AssetOrTimeSchedule(
            timetable=CronTriggerTimetable(recommender.schedule, timezone="UTC"), assets=dataset_md5
        ),
        start_date=START_DATE,
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=limits.run,
        on_failure_callback=run_alerts.alert_run_failed,
        deadline=DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=limits.deadline,
            callback=AsyncCallback(run_alerts.alert_run_late),
        ),
        tags=tags(recommender),
        default_args=task_defaults(recommender),
    ) as dag:
        start = tasks.recover_promotion()
        branch = tasks.data_is_new()
        do_nothing = EmptyOperator(task_id="do_nothing")
        fetch = tasks.fetch_dataset.override(execution_timeout=timeouts.FETCH)()
        frames = tasks.generate_data_frames.override(execution_timeout=timeouts.FEATURES, **heavy)()

        with TaskGroup("features", prefix_group_id=False) as features:
            chain(
                tasks.enable_vector_extension(),
                *features_task("spark_movie_vectors", execution_timeout=timeouts.SPARK, **heavy),
                tasks.load_movie_vectors.override(execution_timeout=timeouts.FEATURES, **heavy)(),
                tasks.check_vectors(),
            )

        with TaskGroup("training", prefix_group_id=False) as training:
            chain(
                trainer_task("train_dl_model", recommender),
                trainer_task("verify_candidate", recommender),
                tasks.load_towers.override(execution_timeout=timeouts.FEATURES, **heavy)(),
            )

        join = EmptyOperator(task_id="join_no_op")
        gate = tasks.gate_candidate()
        approve = ReleaseApproval(task_id="approve_release", limit=limits.approval)
        # Reached from the gate or from approve_release, never from both.
        promote = tasks.promote_release.override(
            trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
            outlets=[release_outlet(names.name)],
            on_failure_callback=[tasks.recover_at_once, failures.note_error],
        )()
        reject = tasks.reject_candidate.override(
            trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS
        )()

        chain(start, branch, [do_nothing, fetch])
        on_spark = features_task("spark_data_frames", execution_timeout=timeouts.SPARK, **heavy)
        chain(fetch, *on_spark, frames, [features, training], join, gate)
        test = tasks.forward_test.override(
            execution_timeout=timeouts.FEATURES,
            # Without the stars of the task before it, it tests the rankings.
            trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS,
            **heavy,
        )()
        frames >> test
        chain(frames, *stars_task(recommender), test)
        gate >> [approve, promote, reject, tasks.write_report()]
        approve >> [promote, reject]
        chain(promote, tasks.update_internal_hash(), tasks.retire_old_releases())

    # Set last: each task takes a copy of the Params that its DAG has at that moment, and Airflow
    # checks the copies of all tasks against their JSON schemas whenever it parses or serializes the
    # DAG. A run gives its tasks the DAG's Params nevertheless.
    dag.params.update(pipeline_params(recommender))
    return dag


def _within_sentence(title: str) -> str:
    return title[0].lower() + title[1:]


def _when(schedule: str) -> str:
    if schedule == _DEFAULT_SCHEDULE:
        return "every Monday at 04:00 UTC"
    return f"on the schedule `{schedule}` (UTC)"
