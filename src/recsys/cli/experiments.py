"""The command that lists, shows and compares the trainings of `recsys train`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys import experiments
from recsys.cli import output
from recsys.cli.metrics_table import print_metrics
from recsys.cli.output import JsonOption, console
from recsys.cli.release_views import print_decision
from recsys.embedded.home import Home
from recsys.errors import ConfigurationError

if TYPE_CHECKING:
    from recsys.experiments import ComparedRuns, LocalRun


class Action(StrEnum):
    """What to do with the kept trainings."""

    LIST = "list"
    SHOW = "show"
    COMPARE = "compare"


_RUNS = {Action.LIST: 0, Action.SHOW: 1, Action.COMPARE: 2}


def experiments_command(
    action: Annotated[Action, typer.Argument(help="list, show RUN, or compare RUN RUN.")],
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Beginning of a run's id, or `latest`.", metavar="RUN"),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="PATH",
            dir_okay=False,
            help="With show or compare: write a page with charts to this file.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List, show or compare the trainings of `recsys train`; needs no server.

    `compare` shows metrics side by side with their confidence intervals, and the settings that
    differ. Two runs can be compared if dataset and holdout are the same.
    """
    named = runs or []
    if len(named) != _RUNS[action]:
        raise ConfigurationError(
            f"recsys experiments {action} has another number of runs",
            found=f"{len(named)} runs",
            expected=f"{_RUNS[action]}",
            hint="`recsys experiments list` shows the ids",
        )
    if html is not None and action == Action.LIST:
        raise typer.BadParameter("for show and compare only", param_hint="--html")
    folder = runs_folder(Home())
    if action == Action.LIST:
        _list(experiments.list_runs(folder), as_json=as_json)
        return
    found = [experiments.find_run(folder, name) for name in named]
    if html is not None:
        _write_page(html, found)
    if action == Action.SHOW:
        _show(found[0], as_json=as_json)
    else:
        _compare(found[0], found[1], as_json=as_json)
    if html is not None and not as_json:
        console.print(f"\npage: {output.safe(str(html))}", soft_wrap=True)


def _write_page(path: Path, runs: list[LocalRun]) -> None:
    """Writes the page of one or two runs; an existing file is replaced."""
    from recsys import reports

    first, second = runs[0], runs[1] if len(runs) > 1 else None
    compared = experiments.compare_runs(first, second) if second else None
    path.write_text(reports.render_runs(first, second, compared), encoding="utf-8")


def runs_folder(home: Home) -> Path:
    """Returns the folder of the kept trainings."""
    return home.path / "training" / "runs"


def describe(run: LocalRun) -> str:
    """Returns dataset, changed settings and id of a run, in one line."""
    settings = ", ".join(run.settings) or "all settings as in trainer/config.py"
    md5 = f" (md5 {run.dataset_md5})" if run.dataset_md5 else ""
    only = f"; only {run.only} was trained" if run.only else ""
    return f"run {run.run_id}: dataset {run.dataset}{md5}; {settings}; seed {run.seed}{only}"


def _list(runs: list[LocalRun], *, as_json: bool) -> None:
    if as_json:
        output.print_json([run.model_dump(mode="json") for run in runs])
        return
    if not runs:
        console.print("no training is kept yet: run `recsys train`")
        return
    shown = output.table("run", " rmse", " ndcg@10", "gate", "dataset", "settings")
    for run in runs:
        scores = run.metrics.model
        shown.add_row(
            run.run_id,
            _number(scores.rmse),
            _number(scores.ndcg_10),
            ("accepted" if run.verdict.accepted else "rejected")
            + (f" ({run.only} only)" if run.only else ""),
            output.safe(Path(run.dataset).name or run.dataset),
            output.safe(", ".join(run.settings) or "defaults"),
        )
    console.print(shown)


def _show(run: LocalRun, *, as_json: bool) -> None:
    if as_json:
        output.print_json(run.model_dump(mode="json"))
        return
    console.print(output.safe(describe(run)))
    print_metrics(run.metrics, run.fit_s)
    print_decision(run.verdict.model_dump(mode="json"))


def _compare(first: LocalRun, second: LocalRun, *, as_json: bool) -> None:
    found = experiments.compare_runs(first, second)
    if as_json:
        runs = {"first": first.run_id, "second": second.run_id}
        output.print_json(runs | found.model_dump(mode="json"))
        return
    for run in (first, second):
        console.print(output.safe(describe(run)))
    if not found.same_holdout:
        console.print("[yellow]notice:[/] the holdouts differ: do not compare these metrics")
    _print_metrics(found)
    if not found.settings:
        console.print("\nall settings are the same")
        return
    shown = output.table("setting", "first", "second", title="settings that differ")
    for name, a, b in found.settings:
        shown.add_row(*(output.safe(str(value)) for value in (name, a, b)))
    console.print(shown)


def _print_metrics(found: ComparedRuns) -> None:
    shown = output.table("metric", " first", " second", " change", "better")
    for name, a, b, change, better in found.metrics:
        ends: tuple[Any, Any] = found.intervals.get(name, (None, None))
        shown.add_row(
            name,
            _number(a) + _interval(ends[0]),
            _number(b) + _interval(ends[1]),
            "" if change is None else f"{change:+.2%}",
            better,
        )
    console.print(shown)


def _interval(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f" ({ends[0]:.4f} to {ends[1]:.4f})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
