"""The tasks: each reads settings, calls one function of the domain, and returns a small value.

The id of a task is the name of the function that it calls.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import task
from airflow.sdk.log import mask_secret

from recsys import alerts, ledger, monitoring, pipeline, releases
from recsys.errors import LedgerError
from recsys.ledger import Actor
from recsys.recommenders import Launcher
from recsys.trainer_process import forwarded_variables
from recsys_dag import approval, descriptions, metrics, settings
from recsys_dag.assets import emit_release, last_emitted
from recsys_dag.descriptions import of
from recsys_dag.masking import hide_source_secrets, mask_source

# Runs that were queued before these callbacks moved name them here.
from recsys_dag.run_alerts import alert_run_failed as alert_run_failed
from recsys_dag.run_alerts import alert_run_late as alert_run_late
from recsys_dag.trainer import settings as trainer_settings

if TYPE_CHECKING:
    from airflow.sdk import Context

    from recsys.contract import TrainerInput
    from recsys.pipeline import Run

log = logging.getLogger(__name__)


@task
def recover_promotion(**context: Any) -> dict[str, Any]:
    """Finishes or undoes an interrupted promotion; the first task of every run."""
    recovery = releases.recover_and_watch(
        settings.services(of(context)), actor=_actor(context, "recovery")
    )
    return {"undone": recovery.undone, "copies_mended": recovery.copies_restored}


@task.branch
def data_is_new(**context: Any) -> str:
    """Branches to fetch_dataset if the build was never judged or is forced, else to do_nothing."""
    params = context["params"]
    hide_source_secrets(params["source"], of(context).connections.source)
    image = settings.trainer_image(of(context))
    verdict = pipeline.data_is_new(
        settings.services(of(context)),
        source=params["source"],
        trainer_digest=settings.trainer_digest(of(context), image),
        settings=settings.build_settings(of(context), params),
        run_id=context["run_id"],
        force=bool(params["force"]),
        actor=_actor(context, "the run looked for a new build"),
        fetch=settings.fetch_settings(of(context), params["source"]),
    )
    metrics.emit(monitoring.verdict_measurements(verdict), of(context))
    context["ti"].xcom_push(key="run", value=verdict.run.model_dump(mode="json"))
    context["ti"].xcom_push(key="reason", value=verdict.reason)
    # Later tasks use the same image, even if a new one is pushed during the run.
    context["ti"].xcom_push(key="trainer_image", value=image)
    if not verdict.is_new:
        # Skips all tasks at once; the scheduler would skip one level of them per loop.
        after = context["task"].get_flat_relatives(upstream=False)
        context["task"].skip(context["ti"], [t for t in after if t.task_id != "do_nothing"])
    return "fetch_dataset" if verdict.is_new else "do_nothing"


# Publishers may upload the md5 hours before the zip. With the default delays, which double up to 15
# minutes, this is about five hours.
@task(retries=24)
def fetch_dataset(**context: Any) -> dict[str, Any]:
    """Downloads the dataset's zip into S3 and verifies its md5."""
    run = run_of(context)
    fetched = pipeline.fetch_dataset(
        settings.services(of(context)),
        run,
        settings=settings.fetch_settings(of(context), run.source),
    )
    metrics.emit(monitoring.fetch_measurements(fetched), of(context))
    return {"key": fetched.key, "size": fetched.size, "fetched": fetched.fetched}


@task
def generate_data_frames(**context: Any) -> dict[str, Any]:
    """Validates the dataset, writes its features to S3, and measures its drift."""
    services, run = settings.services(of(context)), run_of(context)
    stats = pipeline.generate_data_frames(services, run)
    metrics.emit(monitoring.feature_measurements(stats), of(context))
    drift = pipeline.measure_drift(
        services, run, settings.drift_settings(of(context), context["params"])
    )
    metrics.emit(monitoring.drift_measurements(drift), of(context))
    return {
        **stats.model_dump(mode="json"),
        "drift": drift.model_dump(mode="json") if drift else None,
    }


@task
def forward_test(**context: Any) -> int | None:
    """Tests served releases on the newer ratings; a failure to do so does not fail the task."""
    from airflow.sdk.exceptions import AirflowTaskTimeout

    run = run_of(context)
    # Where the trainer runs elsewhere, this process has no Keras: predict_newer_ratings ran before.
    local = trainer_settings.launcher(of(context)) == Launcher.LOCAL
    try:
        tests = pipeline.forward_test(
            settings.services(of(context)),
            run,
            settings.forward_settings(of(context)),
            pipeline.predicted_here(settings.trainer().predict)
            if local
            else pipeline.predicted_by_verifier(run),
        )
    # AirflowTaskTimeout is not an Exception.
    except (Exception, AirflowTaskTimeout):
        log.warning("no release was tested on the newer ratings", exc_info=True)
        return None
    return len(tests)


@task
def enable_vector_extension(**context: Any) -> None:
    """Enables the pgvector extension."""
    pipeline.enable_vector_extension(settings.services(of(context)))


@task
def load_movie_vectors(**context: Any) -> dict[str, Any]:
    """Computes the movie vectors and loads them into the release's table, with an index."""
    return pipeline.load_movie_vectors(settings.services(of(context)), run_of(context))


@task
def check_vectors(**context: Any) -> dict[str, Any]:
    """Checks counts, norms, recall and speed of the loaded movie vectors."""
    report = pipeline.check_vectors(settings.services(of(context)), run_of(context))
    return dict(report.model_dump(mode="json"))


@task
def train_dl_model(**context: Any) -> dict[str, bool]:
    """Trains, evaluates and exports in a process of the trainer."""
    trained = pipeline.train_dl_model(
        settings.services(of(context)), run_of(context), settings.trainer()
    )
    return {"trained": trained}


@task
def verify_candidate(**context: Any) -> None:
    """Checks that the artifacts are complete and that the model loads in a new process."""
    pipeline.verify_candidate(settings.services(of(context)), run_of(context), settings.trainer())


def begin_trainer(subcommand: str, context: Context) -> TrainerInput | None:
    """Returns the input of the trainer's pod or container; None if there is nothing to do."""
    services, run = settings.services(of(context)), run_of(context)
    trainer_input: TrainerInput | None
    if subcommand == "forward":
        trainer_input = pipeline.ask_for_stars(
            services, run, settings.forward_settings(of(context))
        )
    else:
        begin = {"train": pipeline.begin_training, "verify": pipeline.check_candidate}[subcommand]
        trainer_input = begin(services, run)
    if trainer_input is not None and trainer_input.seal:
        mask_secret(trainer_input.seal)
    return trainer_input


def trainer_secrets() -> dict[str, str]:
    """Returns the values of the trainer's secrets, for a launcher without secret references."""
    return pipeline.container_secrets(settings.trainer_services(descriptions.current()))


def forwarded_environment() -> dict[str, str]:
    """Returns the variables of this task that the trainer and Spark get, wherever they run.

    The password in a proxy's URL is masked in logs and in the rendered fields of Airflow's UI.
    """
    variables = forwarded_variables()
    for value in variables.values():
        with contextlib.suppress(ValueError):
            if password := urlsplit(value).password:
                mask_secret(password)
    return variables


@task
def load_towers(**context: Any) -> dict[str, Any]:
    """Loads the trainer's towers into the release's tables."""
    return pipeline.load_towers(settings.services(of(context)), run_of(context))


@task.branch
def gate_candidate(**context: Any) -> list[str]:
    """Judges the candidate; branches to promote_release, approve_release or reject_candidate."""
    params = context["params"]
    decision = pipeline.gate_candidate(
        settings.services(of(context)),
        run_of(context),
        settings.gate_settings(of(context), params),
        drift_accepted=settings.drift_settings(of(context), params).accept,
        signing_key=settings.signing_key(of(context)),
    )
    metrics.emit(monitoring.decision_measurements(decision), of(context))
    context["ti"].xcom_push(key="reason", value=decision.reason)
    if not decision.accepted:
        return ["reject_candidate", "write_report"]
    return ["approve_release" if params["require_approval"] else "promote_release", "write_report"]


@task
def write_report(**context: Any) -> str | None:
    """Writes the release's report to S3; a failure to do so does not fail the task."""
    from airflow.sdk.exceptions import AirflowTaskTimeout

    try:
        return pipeline.write_report(settings.services(of(context)), run_of(context))
    # AirflowTaskTimeout is not an Exception, so `write_report` does not catch it.
    except AirflowTaskTimeout:
        log.exception("the report took too long; `recsys report` writes it")
        return None


@task
def promote_release(**context: Any) -> dict[str, Any]:
    """Makes the candidate the champion: model and vectors as one pair."""
    run = run_of(context)
    change = releases.promote_release(
        settings.services(of(context)),
        run.release_id,
        actor=_decider(context),
        run_id=run.run_id,
        trace=(times := monitoring.SwitchTimer()),
    )
    metrics.emit(times.measurements(), of(context))
    # A try after one that was killed changes nothing, and its event is the only one.
    emit_release(context, change.to_release, change.from_release, of(context).name)
    return {"release_id": change.to_release, "changed": change.changed}


@task
def reject_candidate(**context: Any) -> None:
    """Records the rejection; production does not change and the run succeeds."""
    pipeline.reject_candidate(
        settings.services(of(context)), run_of(context), actor=_decider(context)
    )


@task
def update_internal_hash(**context: Any) -> None:
    """Records which dataset the champion was made from."""
    pipeline.update_internal_hash(settings.services(of(context)), run_of(context))


@task
def retire_old_releases(**context: Any) -> list[str]:
    """Drops tables and objects of releases that are no longer retained."""
    services = settings.services(of(context))
    # An open run keeps its build alive, also while it only waits, for a GPU or for a person.
    pipeline.keep_open_builds(services, lambda run_id: _is_open(context, run_id))
    retirement = releases.retire_old_releases(
        services, settings.retention_settings(of(context)), actor=_actor(context, "retention")
    )
    if context["dag"].dag_id == of(context).namespace.weekly_dag:
        # The release without the users may be the one that this run has promoted.
        releases.finish_erasures(services, actor=_actor(context, "pending erasures"))
    return list(retirement.retired)


@task.branch
def request_erasure(**context: Any) -> str:
    """Records users to erase and hides them; branches to a run of the pipeline if it is needed."""
    params, services = context["params"], settings.services(of(context))
    if params["users"]:
        users = [int(user) for user in params["users"]]
        releases.request_erasure(services, users, actor=_actor(context, params["reason"]))
    status = releases.finish_erasures(services, actor=_actor(context, params["reason"]))
    return "build_without_users" if status.champion_knows else "erase_users"


@task
def erase_users(**context: Any) -> dict[str, Any]:
    """Deletes what knows erased users; fails if something still does."""
    status = releases.finish_erasures(
        settings.services(of(context)), actor=_actor(context, context["params"]["reason"])
    )
    if status.champion_knows:
        raise LedgerError(
            "the live release still knows users who are being erased",
            found="no release without them was promoted",
            hint="`recsys why` says why the gate rejected it; readers do not see the users",
        )
    if status.pending:
        raise LedgerError(
            "users who are being erased are still known",
            found="; ".join([*status.traces, *(f"{name}: {why}" for name, why in status.skipped)]),
            hint="clear this task when what is in the way is gone",
        )
    return {"completed": status.completed, "retired": list(status.retired)}


@task
def certify_erasure(**context: Any) -> str:
    """Searches everything for erased users, and stores the certificate of what was found."""
    services = settings.services(of(context))
    search = releases.search_everything(services)
    releases.certify(services, search, settings.signing_key(of(context)))
    for each in search.undecoded:
        log.warning("%s could not be decoded: %s", each.name, releases.what_to_do(each))
    return f"{search.result}: {len(search.searched)} objects and tables"


@task
def roll_back(**context: Any) -> dict[str, Any]:
    """Makes the chosen release, by default the previous champion, the champion again."""
    params = context["params"]
    change = releases.roll_back(
        settings.services(of(context)),
        params["release"],
        actor=_actor(context, params["reason"]),
        run_id=context["run_id"],
        trace=(times := monitoring.SwitchTimer()),
    )
    metrics.emit(times.measurements(), of(context))
    emit_release(context, change.to_release, change.from_release, of(context).name)
    return {"from": change.from_release, "to": change.to_release, "changed": change.changed}


@task
def announce_release(**context: Any) -> str | None:
    """Emits the asset of the live release if its newest event names another release.

    So a change by the command line or the releases page, or by a task that was killed after its
    commit, reaches the DAGs of others, too.
    """
    with settings.services(of(context)).connect() as conn:
        live = ledger.live_release(conn)
    if live is None or live.release_id == (emitted := last_emitted(context, of(context).name)):
        return None
    emit_release(context, live.release_id, emitted, of(context).name)
    return live.release_id


@task
def check_freshness(**context: Any) -> None:
    """Fails if no run has succeeded for longer than ``RECSYS_MAX_AGE_DAYS``."""
    monitoring.check_freshness(settings.services(of(context)), settings.max_age(of(context)))


@task
def send_alerts(**context: Any) -> int:
    """Sends the alerts that the ledger's history contains and no channel has received yet."""
    return alerts.send_alerts(
        settings.services(of(context)),
        settings.alerts_of(of(context)),
        settings.max_age(of(context)),
    )


@task
def measure_ledger(**context: Any) -> int:
    """Measures the champion, its age and the ledger's events; see docs/monitoring.md."""
    measurements = monitoring.measure_ledger(settings.services(of(context)))
    metrics.emit(measurements, of(context))
    return len(measurements)


@task
def send_heartbeat(**context: Any) -> bool:
    """Pings the heartbeat URL; its monitor raises the alarm if the pings stop."""
    return alerts.heartbeat(settings.alerts_of(of(context)))


def recover_at_once(context: Context) -> None:
    """Failure callback: tries to recover at once. The journal guarantees recovery without it."""
    try:
        releases.recover_and_watch(
            settings.services(of(context)), actor=_actor(context, "recovery")
        )
    except Exception:
        log.exception("recovery failed; the next run or `recsys recover` tries again")


def run_of(context: Any) -> Run:
    """Returns the run's source and build, as data_is_new recorded them."""
    run = pipeline.Run.model_validate(context["ti"].xcom_pull(task_ids="data_is_new", key="run"))
    mask_source(run.source)
    return run


def _is_open(context: Any, run_id: str) -> bool:
    """Whether the run of the pipeline with this id is queued or running."""
    count = context["ti"].get_dr_count(
        dag_id=of(context).namespace.weekly_dag, run_ids=[run_id], states=["queued", "running"]
    )
    return bool(count)


def _decision(context: Any) -> str:
    """Returns why the release is promoted or rejected: the gate's reason, then a person's."""
    gate = context["ti"].xcom_pull(task_ids="gate_candidate", key="reason")
    return "; ".join(filter(None, [str(gate), approval.answer(context)]))


def _decider(context: Any) -> Actor:
    """Returns the person who answered the approval, else the one who started the run."""
    return _actor(context, _decision(context), approval.answered_by(context))


def _actor(context: Any, reason: str, person: str | None = None) -> Actor:
    run = context["dag_run"]
    person = person or settings.person() or getattr(run, "triggering_user_name", None)
    return Actor.from_run(run.run_id, reason, person)
