"""The command that makes a release again and compares every part of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from recsys.cli import extras, output
from recsys.cli.output import JsonOption, console
from recsys.cli.release_views import ReleaseOrChampionArgument

if TYPE_CHECKING:
    from recsys.pipeline import Reproduction

EXIT_DIFFERENT: Final = 1
_VERDICTS: Final = {
    "identical": "[green]identical[/]: all parts are the same, but for times",
    "close": "[green]reproduced[/]: parts differ in their bytes, all metrics agree within 0.0001",
    "different": "[red]different[/]: metrics differ by more than 0.0001, or cannot be compared",
}


def reproduce(
    release: ReleaseOrChampionArgument = None,
    any_trainer: Annotated[
        bool,
        typer.Option(
            "--any-trainer", help="Compare also if this trainer is not the one of the release."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a release again from its recorded dataset and settings, and compare every part.

    Makes features, movie vectors and models in a temporary folder, which takes as long as a run.
    Changes nothing. On the same kind of machine all parts are the same bytes. The exit code is 0 if
    they are, or if all metrics agree within 0.0001; otherwise it is 1.
    """
    extras.require("pipeline")
    from recsys import pipeline
    from recsys.cli.training_options import doing
    from recsys.experiments import find_trainer
    from recsys.scratch import scratch_folder

    trainer = find_trainer()
    trainer.check_installed()
    with (
        output.services() as services,
        scratch_folder("reproduce") as work,
        doing(f"reproducing {release or 'the champion'}") as say,
    ):
        found = pipeline.reproduce_release(
            services, release, trainer, work, say, say, any_trainer=any_trainer
        )
    if as_json:
        output.print_json({**asdict(found), "verdict": found.verdict})
    else:
        _print(found)
    if found.verdict is pipeline.ReproductionVerdict.DIFFERENT:
        raise typer.Exit(EXIT_DIFFERENT)


def _print(found: Reproduction) -> None:
    shown = output.table(" ", "part", "difference")
    for part in found.parts:
        if part.difference is None:
            shown.add_row("[yellow]-[/]", output.safe(part.name), "no longer stored")
            continue
        mark = "[green]✓[/]" if part.difference.is_none else "[yellow]![/]"
        detail = part.difference.detail
        detail = detail if not detail.startswith("sha256") else f"same bytes, {detail[:19]}..."
        shown.add_row(mark, output.safe(part.name), output.safe(detail))
    console.print(shown)
    for name, then, now in found.environment:
        console.print(f"then {output.safe(f'{name} {then}')}, now {output.safe(now)}", style="dim")
    console.print(f"{found.release_id} is {_VERDICTS[found.verdict]}.")
