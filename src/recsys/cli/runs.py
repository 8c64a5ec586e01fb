"""Commands that run the pipeline, and the one that generates a dataset."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys import dataset, embedded, ledger, monitoring, recommenders
from recsys.cli import extras, output
from recsys.cli.defaults import MAX_SAMPLE
from recsys.cli.output import JsonOption, console
from recsys.cli.progress import Progress
from recsys.cli.run_summary import print_details, print_summary
from recsys.cli.source import (
    SourceOption,
    absolute_source,
    check_source,
    choose_source,
    source_connection,
)
from recsys.embedded.home import Home
from recsys.errors import RecsysError, StoppedBySignal

if TYPE_CHECKING:
    from recsys.services import Services

ForceOption = Annotated[
    bool, typer.Option("--force", help="Run even if this build was judged before.")
]
AcceptDriftOption = Annotated[
    bool,
    typer.Option("--accept-drift", help="Continue even if the drift exceeds the hard limits."),
]

SeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed",
        min=0,
        help="Seed of the training; another one makes another release of the same dataset.",
    ),
]


def demo(
    source: SourceOption = None,
    force: ForceOption = False,
    details: Annotated[
        bool,
        typer.Option(
            "--details",
            help="Also print the gate's rules, all metrics, quarantine and drift.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the whole pipeline once on this machine and show the results.

    Starts PostgreSQL and S3 if they are not running, runs the DAG, and stops what it started.
    Prints one screen: the live release, its quality, similar movies and recommendations. Without
    --source and without a network it uses a generated sample. Ctrl-C stops everything.
    """
    extras.require("embedded", "airflow", "pipeline")
    home = Home()
    # A demo may use one dataset after another, so drift is shown but not limited.
    conf = _conf(home, source, force, accept_drift=True)
    with _data_services(home):
        output.make_servers_ready(home)
        services = output.embedded_services(home)
        result = _run(home, conf, quiet=as_json)
        if as_json:
            output.print_json(_document(services, result))
        else:
            _report(result)
            if result.succeeded and details:
                print_details(services, judged=_judged(result))
            if result.succeeded:
                print_summary(services, judged=_judged(result))
    if not result.succeeded:
        raise typer.Exit(output.EXIT_FAILED)


def run(
    source: SourceOption = None,
    force: ForceOption = False,
    accept_drift: AcceptDriftOption = False,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the pipeline: through Airflow if `recsys up` is running, else in this process.

    Exit code 0: the run succeeded (a rejected candidate is a success); 1: it failed. Ctrl-C stops
    the run, also in Airflow, and marks its release as abandoned.
    """
    extras.require("embedded", "airflow", "pipeline")
    home = Home()
    conf = _conf(home, source, force, accept_drift, seed)
    with _data_services(home):
        if embedded.airflow.status(home).running:
            if source_connection(conf["source"]):
                output.errors.print(
                    "[yellow]notice:[/] the running Airflow does not get the credentials of this "
                    "command; it has\nthose of `recsys up`, or its Connection recsys_source."
                )
            result = _run_in_airflow(home, conf, quiet=as_json)
        else:
            result = _run(home, conf, quiet=as_json)
        document = _document(output.embedded_services(home), result)
    if as_json:
        output.print_json(document)
    else:
        _report(result)
    if not result.succeeded:
        raise typer.Exit(output.EXIT_FAILED)


def run_for_erasure(source: str | None, *, quiet: bool) -> str:
    """Runs the pipeline as `run` does, after users are to be erased; returns the run's state."""
    home = Home()
    conf = _conf(home, source, force=False, accept_drift=False)
    with _data_services(home):
        if embedded.airflow.status(home).running:
            result = _run_in_airflow(home, conf, quiet=quiet)
        else:
            result = _run(home, conf, quiet=quiet)
    if not quiet:
        _report(result)
    return result.state


def make_sample(
    path: Annotated[Path, typer.Argument(help="The zip to write; its md5 is written to PATH.md5.")],
    ratings: Annotated[
        int, typer.Option("--ratings", min=100, max=MAX_SAMPLE, help="Number of ratings.")
    ] = 100_000,
    seed: Annotated[
        int, typer.Option("--seed", help="Random seed; the same seed gives the same bytes.")
    ] = 1,
    as_json: JsonOption = False,
) -> None:
    """Generate a dataset in MovieLens format, with structure that a model can learn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with console.status(f"generating {ratings:,} ratings"):
        sample = dataset.write_sample(path, ratings=ratings, seed=seed)
    if as_json:
        output.print_json(vars(sample))
        return
    shown = output.safe(str(path))
    console.print(
        f"{shown}: {sample.ratings:,} ratings, {sample.users:,} users, {sample.movies:,} movies"
    )
    # One line, however long, and quoted: it is copied into a shell.
    line = f"{output.command()} demo --source {shlex.quote(str(path))}"
    console.print(f"Try it:\n  {output.safe(line)}", soft_wrap=True)


def _conf(
    home: Home, source: str | None, force: bool, accept_drift: bool, seed: int | None = None
) -> dict[str, Any]:
    name = recommenders.chosen_recommender()
    return {
        "source": choose_source(home, source)
        if name == recommenders.FIRST_RECOMMENDER
        else _described_source(name, source),
        "force": force,
        "accept_drift": accept_drift,
        "seed": seed,
    }


def _described_source(name: str, given: str | None) -> str:
    """Returns the source of a described recommender, unless the command names another one."""
    # The variable is that of the first recommender.
    if given and given != os.environ.get("RECSYS_SOURCE"):
        chosen = absolute_source(given)
    else:
        chosen = " ".join(output.description(name).source)
    check_source(chosen)
    return chosen


def _document(services: Services, result: embedded.runs.RunResult) -> dict[str, Any]:
    # The data are the champion's; `recsys why RELEASE` shows a rejected candidate's.
    found = monitoring.read_status(services, with_data=True)
    return {
        "run_id": result.run_id,
        "state": result.state,
        "reason": result.reason,
        "tasks": result.tasks,
        "errors": result.errors,
        "seconds": round(result.seconds, 1),
        **found,
    }


@contextmanager
def _data_services(home: Home) -> Iterator[None]:
    with ExitStack() as opened:
        with output.errors.status("starting PostgreSQL and S3"):
            opened.enter_context(embedded.stack.data_services(home))
        yield


def _judged(result: embedded.runs.RunResult) -> bool:
    return result.tasks.get("gate_candidate") == "success"


def _run(home: Home, conf: dict[str, Any], *, quiet: bool) -> embedded.runs.RunResult:
    environment = {"RECSYS_ACTOR": output.user_name(), **source_connection(conf["source"])}
    progress, dag_id = Progress(quiet=quiet), recommenders.chosen_recommender()
    shown = console.is_terminal and not quiet
    if not quiet:
        shown_source = output.safe(dataset.redact_sources(conf["source"]))
        console.print(f"running [bold]{dag_id}[/] on {shown_source}")
        if not shown:
            console.print("  starting the run: importing Airflow takes a few seconds")
    result = embedded.runs.RunResult()
    try:
        with progress.live if shown else nullcontext():
            result = embedded.runs.run_once(home, dag_id, conf, progress, environment)
    finally:
        # No process continues this run; the next run of the same build begins it again.
        if not result.succeeded:
            _abandon(home, progress.run_id)
    return result


def _abandon(home: Home, run_id: str) -> None:
    """Marks what a run that has ended was still building as abandoned."""
    if not run_id:
        return
    actor = output.actor(f"the run {run_id} was stopped or failed")
    try:
        with output.embedded_services(home).connect() as conn:
            if ledger.applied(conn):
                ledger.abandon_run(conn, run_id, actor=actor)
    except RecsysError as error:
        output.errors.print(
            f"[yellow]notice:[/] the release stays in state building: {output.safe(str(error))}"
        )


def _run_in_airflow(home: Home, conf: dict[str, Any], *, quiet: bool) -> embedded.runs.RunResult:
    result = embedded.runs.RunResult()
    began = time.monotonic()
    progress, dag_id = Progress(quiet=quiet), recommenders.chosen_recommender()
    shown = console.is_terminal and not quiet
    with embedded.airflow.client(home) as client:
        client.wait_for_dag(dag_id)
        client.unpause(dag_id)
        result.run_id = client.trigger(dag_id, conf)
        if not quiet:
            console.print(f"triggered [bold]{output.safe(result.run_id)}[/] in Airflow")
        try:
            with progress.live if shown else nullcontext():
                while (state := client.run_state(dag_id, result.run_id)) in ("queued", "running"):
                    for task in () if quiet else client.task_instances(dag_id, result.run_id):
                        progress(
                            {"event": "task", "task_id": task.task_id, "state": str(task.state)}
                        )
                    time.sleep(1)
        except StoppedBySignal:
            client.fail_run(dag_id, result.run_id)
            _abandon(home, result.run_id)
            raise
        result.state = state
        result.tasks = {
            t.task_id: str(t.state) for t in client.task_instances(dag_id, result.run_id)
        }
        for task_id in ("data_is_new", "gate_candidate"):
            found = client.xcom(dag_id, result.run_id, task_id, "reason")
            result.reason = found or result.reason
    result.seconds = time.monotonic() - began
    return result


def _report(result: embedded.runs.RunResult) -> None:
    if result.succeeded:
        console.print(f"\n[bold]{output.safe(str(result.reason))}[/]  ({result.seconds:.0f} s)\n")
        return
    output.errors.print(f"[bold red]the run {result.state}[/] ({result.seconds:.0f} s)")
    for task_id, error in result.errors.items():
        output.errors.print(f"  {task_id}: {output.safe(error, lines=True)}")
    if result.log.name:
        output.errors.print(f"  complete log: {result.log}", markup=False)
    output.errors.print("  production was not changed; fix the cause, then run it again")
