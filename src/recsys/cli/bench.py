"""The command `bench`: measures the data path, or a whole run, on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from recsys.cli import extras, output
from recsys.cli.defaults import MAX_SAMPLE
from recsys.cli.output import JsonOption, console

if TYPE_CHECKING:
    from recsys.benchmark.measurements import Measurements, Stage
    from recsys.benchmark.whole import Whole


_SHOWN_S: Final = 0.05


def bench(
    ratings: Annotated[
        int,
        typer.Option(
            "--ratings", min=1000, max=MAX_SAMPLE, help="Size of the dataset to generate."
        ),
    ] = 1_000_000,
    source: Annotated[
        Path | None,
        typer.Option(
            "--source", exists=True, dir_okay=False, help="Use this zip instead of a generated one."
        ),
    ] = None,
    whole: Annotated[
        bool,
        typer.Option(
            "--whole", help="Measure a whole run instead: training, gate and promotion, too."
        ),
    ] = False,
    reference: Annotated[
        bool,
        typer.Option(
            "--reference/--no-reference",
            help="Also measure a naive reference for each stage, if it can finish.",
        ),
    ] = True,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write the JSON document to this file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure all but training: from a zip to vectors in a checked index; or a whole run.

    Each stage runs in its own process. PostgreSQL and S3 are started for the benchmark and stopped
    at its end. Each stage is compared with a naive reference (the whole zip in memory, a dense
    matrix, one statement per row) and with a floor: the shortest time that this machine's speed of
    hashing, inflating, copying and computing allows. These speeds are measured first.

    With 32,000,000 ratings, generating takes 3 minutes; the benchmark needs 3 GB of disk and 2 GB
    of memory.

    With --whole, the DAG runs once, from the zip to a promoted release, and each task is measured:
    wall time, CPU of pipeline, trainer, verifier, PostgreSQL and S3, and the memory of the largest
    process. docs/performance.md says how long it takes and how much memory it needs.
    """
    if whole:
        _run_whole(ratings, source, out, as_json)
        return
    extras.require("embedded", "pipeline", *(["bench"] if reference else []))
    from recsys.benchmark.run import run_benchmark

    with _saying() as say:
        measurements = run_benchmark(
            ratings=ratings, source=source, with_reference=reference, on_step=say
        )
    if _write(measurements.model_dump_json(indent=2), out, as_json):
        _print(measurements)


def _run_whole(ratings: int, source: Path | None, out: Path | None, as_json: bool) -> None:
    extras.require("embedded", "airflow", "pipeline")
    from recsys.benchmark.whole import run_whole

    with _saying() as say:
        measured = run_whole(ratings=ratings, source=source, on_step=say)
    if _write(measured.model_dump_json(indent=2), out, as_json):
        _print_whole(measured)


@contextmanager
def _saying() -> Iterator[Callable[[str], None]]:
    """Yields what shows the current step, on standard error."""
    with output.errors.status("preparing") as status:

        def say(text: str) -> None:
            status.update(text)
            if not output.errors.is_terminal:
                output.errors.print(f"  {text}")

        yield say


def _write(document: str, out: Path | None, as_json: bool) -> bool:
    """Writes the document to the file and as the output, if asked to; returns if tables follow."""
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(document + "\n")
    if as_json:
        typer.echo(document)
    return not as_json


def _print_machine(ratings: int, machine: dict[str, Any]) -> None:
    console.print(
        f"{ratings:,} ratings; {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gb']} GiB, load {machine['load_average']}"
    )


def _print_whole(measured: Whole) -> None:
    _print_machine(measured.ratings, measured.machine)
    shown = output.table("task", " wall s", " CPU s", " largest process MB", "CPU s by process")
    for step in measured.steps:
        shares = sorted(
            ((name, used) for name, used in step.groups.items() if used.cpu_s >= _SHOWN_S),
            key=lambda share: -share[1].cpu_s,
        )
        shown.add_row(
            output.safe(step.task),
            f"{step.wall_s:.1f}",
            f"{step.cpu_s:.1f}",
            f"{step.peak_process_mb:,.0f}",
            ", ".join(f"{name} {used.cpu_s:.1f}" for name, used in shares),
        )
    console.print(shown)
    console.print(
        f"{output.safe(measured.release_id)} was {'promoted' if measured.promoted else 'rejected'} "
        f"after {measured.wall_s:.1f} s, {measured.cpu_s:.1f} s of CPU; largest process "
        f"{measured.peak_process_mb:,.0f} MB"
    )
    console.print(output.safe(measured.reason or ""), style="dim")


def _print(measurements: Measurements) -> None:
    _print_machine(measurements.ratings, measurements.machine)
    shown = output.table(
        "stage", " wall s", " CPU s", " peak MB", " naive s", " faster", " floor s", " x floor"
    )
    for stage in measurements.stages:
        shown.add_row(*_row(stage))
    console.print(shown)
    console.print(
        f"total {measurements.total_wall_s:.1f} s, peak {measurements.peak_rss_mb:,.0f} MB"
    )
    for stage in measurements.stages:
        if stage.reference_note:
            console.print(f"{stage.stage}: {output.safe(stage.reference_note)}", style="dim")


def _row(stage: Stage) -> tuple[str, ...]:
    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    return (
        stage.stage,
        number(stage.wall_s, ".2f"),
        number(stage.cpu_s, ".2f"),
        number(stage.peak_rss_mb, ",.0f"),
        number(stage.reference_wall_s, ".2f"),
        f"{stage.ratio:.1f}x" if stage.ratio else "-",
        number(stage.floor_s, ".2f"),
        number(stage.times_floor, ".1f"),
    )
