"""Commands that run the pipeline, and the one that generates a dataset."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from recsys import dataset, ledger, monitoring, recommend
from recsys.cli import output
from recsys.cli.data import print_data
from recsys.cli.evaluation import print_metrics
from recsys.cli.output import JsonOption, console
from recsys.cli.queries import print_movies
from recsys.cli.release_views import print_decision
from recsys.cli.report import save
from recsys.cli.source import SourceOption, choose_source, source_connection
from recsys.dataset import redact_sources
from recsys.embedded import airflow, runs, stack
from recsys.embedded.home import Home
from recsys.errors import RecsysError, TransientError
from recsys.services import Services

DAG_ID = "movie_rec_sys"
_KNOWN_MOVIES = ("Toy Story (1995)", "Matrix, The (1999)")

ForceOption = Annotated[
    bool, typer.Option("--force", help="Run even if this build was judged before.")
]
AcceptDriftOption = Annotated[
    bool,
    typer.Option("--accept-drift", help="Continue even if the drift exceeds the hard limits."),
]


def demo(
    source: SourceOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run the whole pipeline once on this machine and show the results.

    Starts PostgreSQL and S3 if they are not running, runs the DAG, and stops what it started.
    Prints the gate's decision, quarantine and drift, the live release, similar movies and
    recommendations. Without --source and without a network it uses a generated sample.
    """
    home = Home()
    with stack.data_services(home):
        services = output.embedded_services(home)
        # A demo may use one dataset after another, so drift is shown but not limited.
        conf = _conf(home, source, force, accept_drift=True)
        result = _run(home, conf, quiet=as_json)
        if as_json:
            output.print_json(_document(services, result))
        else:
            _report(result)
            if result.succeeded:
                _show(services, result)
    if not result.succeeded:
        raise typer.Exit(output.EXIT_FAILED)


def run(
    source: SourceOption = None,
    force: ForceOption = False,
    accept_drift: AcceptDriftOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run the pipeline: through Airflow if `recsys up` is running, else in this process.

    Exit code 0: the run succeeded (a rejected candidate is a success); 1: it failed.
    """
    home = Home()
    with stack.data_services(home):
        conf = _conf(home, source, force, accept_drift)
        if airflow.status(home).running:
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


def make_sample(
    path: Annotated[Path, typer.Argument(help="The zip to write; its md5 is written to PATH.md5.")],
    ratings: Annotated[
        int, typer.Option("--ratings", min=100, help="Number of ratings.")
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
    console.print(f"Try it: recsys demo --source {shown}")


def _conf(home: Home, source: str | None, force: bool, accept_drift: bool) -> dict[str, Any]:
    return {
        "source": choose_source(home, source),
        "force": force,
        "accept_drift": accept_drift,
    }


class _Progress:
    """Shows one line per task: updated live on a terminal, else printed at its end."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._took: dict[str, float] = {}
        self._state: dict[str, str] = {}
        self._log_line = ""
        self.live = Live(get_renderable=self._table, console=console, refresh_per_second=4)

    def __call__(self, event: runs.Event) -> None:
        if event["event"] == "log":
            self._log_line = event["text"]
        elif event["event"] == "task":
            self._take(event["task_id"], event["state"])

    def _take(self, task_id: str, state: str) -> None:
        if state == self._state.get(task_id):
            return
        if state == "running":
            self._began[task_id] = time.monotonic()
        elif task_id in self._began:
            self._took.setdefault(task_id, time.monotonic() - self._began[task_id])
        if state in ("running", "success", "failed"):
            self._state[task_id] = state
        if state != "running" and task_id in self._took and not console.is_terminal:
            console.print(f"  {task_id:<24} {state:<8} {self._took[task_id]:6.1f} s")

    def _table(self) -> Table:
        shown = output.table("", "task", "       ", "")
        marks = {"running": "[cyan]●[/]", "success": "[green]✓[/]", "failed": "[red]✗[/]"}
        for task_id, state in self._state.items():
            seconds = self._took.get(task_id, time.monotonic() - self._began.get(task_id, 0.0))
            line = self._log_line[:40] if state == "running" else ""
            shown.add_row(marks[state], task_id, f"{seconds:.1f} s", f"[dim]{line}[/]")
        return shown


def _document(services: Services, result: runs.RunResult) -> dict[str, Any]:
    found = monitoring.read_status(services)
    return {
        "run_id": result.run_id,
        "state": result.state,
        "reason": result.reason,
        "tasks": result.tasks,
        "errors": result.errors,
        "seconds": round(result.seconds, 1),
        **found,
        # Of the champion; `recsys why RELEASE` shows a rejected candidate's dataset.
        "data": monitoring.why(services)["data"] if found["champion"] else None,
    }


def _run(home: Home, conf: dict[str, Any], *, quiet: bool) -> runs.RunResult:
    environment = {"RECSYS_ACTOR": output.user_name(), **source_connection(conf["source"])}
    if quiet:
        return runs.run_once(home, DAG_ID, conf, environment=environment)
    console.print(f"running [bold]{DAG_ID}[/] on {output.safe(redact_sources(conf['source']))}")
    progress = _Progress()
    if console.is_terminal:
        with progress.live:
            return runs.run_once(home, DAG_ID, conf, progress, environment)
    return runs.run_once(home, DAG_ID, conf, progress, environment)


def _run_in_airflow(home: Home, conf: dict[str, Any], *, quiet: bool) -> runs.RunResult:
    result = runs.RunResult()
    began = time.monotonic()
    progress = _Progress()
    shown = console.is_terminal and not quiet
    with airflow.client(home) as client:
        client.wait_for_dag(DAG_ID)
        client.unpause(DAG_ID)
        result.run_id = client.trigger(DAG_ID, conf)
        if not quiet:
            console.print(f"triggered [bold]{result.run_id}[/] in Airflow")
        with progress.live if shown else nullcontext():
            while (state := client.run_state(DAG_ID, result.run_id)) in ("queued", "running"):
                for task in () if quiet else client.task_instances(DAG_ID, result.run_id):
                    progress({"event": "task", "task_id": task.task_id, "state": str(task.state)})
                time.sleep(1)
        result.state = state
        result.tasks = {
            t.task_id: str(t.state) for t in client.task_instances(DAG_ID, result.run_id)
        }
        for task_id in ("data_is_new", "gate_candidate"):
            found = client.xcom(DAG_ID, result.run_id, task_id, "reason")
            result.reason = found or result.reason
    result.seconds = time.monotonic() - began
    return result


def _report(result: runs.RunResult) -> None:
    if result.succeeded:
        console.print(f"\n[bold]{result.reason}[/]  ({result.seconds:.0f} s)\n")
        return
    output.errors.print(f"[bold red]the run {result.state}[/] ({result.seconds:.0f} s)")
    for task_id, error in result.errors.items():
        output.errors.print(f"  {task_id}: {error}", markup=False)
    if result.log.name:
        output.errors.print(f"  complete log: {result.log}", markup=False)
    output.errors.print("  production was not changed; fix the cause, then run it again")


def _show(services: Services, result: runs.RunResult) -> None:
    """Prints the decision, the live release, and what it recommends."""
    live = monitoring.read_status(services)["champion"]
    if result.tasks.get("gate_candidate") == "success":
        with services.connect() as conn:
            release_id = ledger.last_decided_release(conn)
            candidate = ledger.get(conn, release_id).complete_manifest if release_id else None
        if release_id and candidate:
            found = monitoring.why(services, release_id)
            print_decision(found["decision"])
            console.print("\nmetrics on the holdout (each user's newest ratings)")
            print_metrics(candidate.metrics, None)
            path = save(services, release_id, again=False)
            console.print(f"\nreport: {output.safe(str(path))}", soft_wrap=True)
            report = found["data"]
            if report:
                console.print(f"\ndataset [bold]{report['md5']}[/]")
                print_data(report)
    if live is None:
        console.print("\nNothing is live yet.")
        return
    console.print(
        f"\nlive: [bold green]{live['release_id']}[/]  dataset {live['dataset_md5']}  "
        f"since {live['promoted_at']:%Y-%m-%d %H:%M:%S}"
    )
    try:
        _, movie, neighbours = _known_movie(services)
        console.print(f"\nmovies like [bold]{output.safe(movie.title)}[/]")
        print_movies(neighbours)
        _, movies = recommend.recommend_for_user(services, 1, 10)
        console.print("\nmovies for user [bold]1[/]")
        print_movies(movies)
    except RecsysError as error:
        output.print_error(error)
    console.print(
        "\nnext steps:\n"
        '  recsys similar "Toy Story"      recsys recommend --user 1      recsys why\n'
        "  recsys up        start Airflow's UI, PostgreSQL and S3 and leave them running\n"
        '  eval "$(recsys env)"            addresses for psql, boto3 and others'
    )


def _known_movie(
    services: Services,
) -> tuple[dict[str, Any], recommend.ScoredMovie, list[recommend.ScoredMovie]]:
    """Returns the neighbors of a well-known movie, else of the one with most ratings."""
    for title in _KNOWN_MOVIES:
        try:
            return recommend.find_similar_movies(services, title, 10)
        except TransientError:
            raise
        except RecsysError:
            continue
    return recommend.find_similar_movies(services, str(recommend.most_rated_movie(services)), 10)
