"""The command `bench`: measures the data path on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.cli import extras, output
from recsys.cli.defaults import MAX_SAMPLE
from recsys.cli.output import JsonOption, console

if TYPE_CHECKING:
    from recsys.benchmark.measurements import Measurements, Stage


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
    """Measure everything but training: from a zip to vectors in a checked index.

    Each stage runs in its own process. PostgreSQL and S3 are started for the benchmark and stopped
    at its end. Each stage is compared with a naive reference (the whole zip in memory, a dense
    matrix, one statement per row) and with a floor: the shortest time that this machine's speed of
    hashing, inflating, copying and computing allows. These speeds are measured first.

    With 32,000,000 ratings, generating takes 3 minutes; the benchmark needs 3 GB of disk and 2 GB
    of memory.
    """
    extras.require("embedded", "pipeline", *(["bench"] if reference else []))
    from recsys.benchmark.run import run_benchmark

    with output.errors.status("preparing") as status:

        def say(text: str) -> None:
            status.update(text)
            if not output.errors.is_terminal:
                output.errors.print(f"  {text}")

        measurements = run_benchmark(
            ratings=ratings, source=source, with_reference=reference, on_step=say
        )
    document = measurements.model_dump_json(indent=2)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(document + "\n")
    if as_json:
        typer.echo(document)
    else:
        _print(measurements)


def _print(measurements: Measurements) -> None:
    machine: dict[str, Any] = measurements.machine
    console.print(
        f"{measurements.ratings:,} ratings; {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gb']} GiB, load {machine['load_average']}"
    )
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
