"""The command `replay-history`: the gate on one dump after another of a dataset's past."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from recsys import embedded, pipeline
from recsys.cli import extras, output
from recsys.cli.output import JsonOption, console
from recsys.embedded.home import Home
from recsys.errors import ConfigurationError

if TYPE_CHECKING:
    from recsys.experiments import Dump, Fault
    from recsys.pipeline import ReplayedDump, ReplayReport

_UNITS = {"d": 86_400, "w": 7 * 86_400}
_PLAN = "plan.json"


def replay_history(
    source: Annotated[
        Path, typer.Option("--source", exists=True, dir_okay=False, help="A zip like MovieLens'.")
    ],
    every: Annotated[
        str, typer.Option("--every", help="Time between two dumps, in days or weeks: 10d, 4w.")
    ] = "4w",
    dumps: Annotated[
        int, typer.Option("--dumps", min=2, max=500, help="The newest dumps to replay.")
    ] = 24,
    first: Annotated[
        float,
        typer.Option(
            "--first", min=0.05, max=0.95, help="Share of the ratings that the first dump has."
        ),
    ] = 0.3,
    faults: Annotated[
        bool, typer.Option("--faults/--no-faults", help="Plant faults in some dumps.")
    ] = True,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            file_okay=False,
            help="Where the replay has its own servers and files; by default a folder in .recsys. "
            "The same command continues what is there.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Replay a dataset's history: the real steps and the real gate, dump after dump.

    The dataset is cut into the dumps that its publisher could have made. On each, the pipeline
    trains a small configuration, tests the champion on the newer ratings, and lets the gate decide.
    It has servers of its own: production is not touched. Ctrl-C ends it at once. The same command
    continues with the dump that was not finished.
    """
    from recsys.experiments import History, find_trainer, plan_faults

    trainer = find_trainer()
    trainer.check_installed()
    extras.require("embedded", "pipeline")
    place = folder or Home().path / "replay-history"
    zips = place / "dumps"
    zips.mkdir(parents=True, exist_ok=True)
    history = History.read(source)
    ends = history.ends(_seconds(every), dumps, first)
    planted = plan_faults(len(ends)) if faults else {}
    made = history.write(zips, ends, planted)
    _check_plan(place / _PLAN, made, planted)
    how = pipeline.ReplaySettings.small()
    home = Home(place / "servers")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with (
        embedded.stack.data_services(home),
        pipeline.trainer_session(trainer) as session,
        Progress(*columns, console=output.errors) as shown,
    ):
        services = output.embedded_services(home)
        bar = shown.add_task("replaying", total=len(made))

        def on_dump(done: ReplayedDump) -> None:
            shown.update(bar, advance=1, description=f"dump {done.number}: {done.outcome}")

        done = pipeline.replay_history(
            services,
            session,
            [(dump, planted.get(dump.number)) for dump in made],
            how,
            place / "replayed.jsonl",
            on_dump,
        )
    report = pipeline.report_replay(done)
    if as_json:
        document = [one.model_dump(mode="json") for one in done]
        output.print_json({"report": report.document(), "dumps": document})
        return
    _print(done, report)


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,3})([dw])", text.strip())
    if found is None:
        raise typer.BadParameter("expected days or weeks, such as 10d or 4w", param_hint="--every")
    return int(found[1]) * _UNITS[found[2]]


def _check_plan(path: Path, dumps: list[Dump], planted: dict[int, Fault]) -> None:
    """Stores which dumps are replayed; refuses a folder in which others were."""
    plan = [[dump.md5, planted.get(dump.number, "")] for dump in dumps]
    if path.exists() and json.loads(path.read_text()) != plan:
        raise ConfigurationError(
            "this folder contains the replay of another history",
            found=str(path.parent),
            expected="the dumps of this dataset, --every, --dumps, --first and --faults",
            hint="choose another --folder, or delete this one",
        )
    path.write_text(json.dumps(plan))


def _print(done: list[ReplayedDump], report: ReplayReport) -> None:
    rows = output.table(
        "dump",
        " ratings",
        "planted",
        "outcome",
        "failed rules",
        " RMSE",
        " promised",
        " NDCG@10",
        " promised",
    )
    for one in done:
        test = next((test for test in one.forward if test.was_champion), None)
        metrics = test.metrics if test else {}
        cells = [
            "-" if value is None else f"{value:.4f}"
            for name in ("rmse", "ndcg@10")
            for found in [metrics.get(name)]
            for value in ((found.value, found.promised) if found else (None, None))
        ]
        rows.add_row(
            str(one.number),
            f"{one.ratings:,}",
            one.fault,
            one.outcome,
            # A table below has the names of the rules.
            f"{len(one.failed_rules)} rules"
            if len(one.failed_rules) > 1
            else output.safe("".join(one.failed_rules) or _why(one)),
            *cells,
        )
    console.print(rows)
    console.print("RMSE and NDCG@10: of the champion then, on the ratings that were new to it.")
    counts: dict[str, Any] = report.outcomes
    console.print(", ".join(f"{count} {name}" for name, count in counts.items()))
    for name, (kept, of) in report.coverage.items():
        consistent, _ = report.consistency[name]
        console.print(
            f"{name}: {kept} of {of} realized values in the promised interval, {consistent} differ "
            "by no more than both are uncertain"
        )
    _print_margins(report)
    console.print(
        f"regret on {report.regret.tested} dumps: RMSE {report.regret.rmse:.4f}, "
        f"NDCG@10 {report.regret.ndcg:.4f}"
    )
    console.print(f"{report.seconds:.0f} s in all")


def _why(one: ReplayedDump) -> str:
    return "" if one.outcome == "accepted" else one.reason[:60]


def _print_margins(report: ReplayReport) -> None:
    """Prints the rules that rejected a candidate: values, and limits in parentheses."""
    rejected_by = {fault.number: frozenset(fault.failed_rules) for fault in report.faults}
    failed = frozenset().union(*rejected_by.values())
    shown = [one for one in report.margins if one.rejected or one.rule in failed]
    if not shown:
        return
    rows = output.table("rule", "sound dump next to the limit", "planted faults it rejected")
    for one in shown:
        planted = ", ".join(
            f"dump {number}: {value:.4g} ({limit:.4g})"
            for number, (value, limit) in one.planted.items()
            if one.rule in rejected_by[number]
        )
        nearest = one.nearest
        rows.add_row(
            one.rule, f"{nearest[0]:.4g} ({nearest[1]:.4g})" if nearest else "-", planted or "-"
        )
    console.print(rows)
