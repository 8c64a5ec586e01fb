"""What the commands that train have in common: options, the check of settings, progress."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Final

import typer

from recsys import experiments
from recsys.cli import output
from recsys.cli.progress import Epoch
from recsys.experiments import Part

_LOG_LINE: Final = re.compile(r"(?:\S+ )?(?:INFO|WARNING|ERROR) (.+)")

SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Random seed of the training.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.FIELD=VALUE",
        help="A setting of the trainer, e.g. rating.epochs=12; may be repeated. "
        "trainer/config.py describes all settings.",
    ),
]


OnlyOption = Annotated[
    Part | None,
    typer.Option(
        "--only",
        help="Train and measure this model only; the other one is trained as short as possible.",
    ),
]


@contextmanager
def doing(what: str) -> Iterator[Callable[[str], None]]:
    """Shows progress on standard error, without the timestamps of the trainer's log lines."""
    with output.errors.status(what) as status:

        def say(line: str) -> None:
            match = _LOG_LINE.match(line)
            # TensorFlow's startup messages have other formats.
            text = match[1] if match else "" if "absl" in line or "port.cc" in line else line
            if epoch := Epoch.parse(text):
                text = str(epoch)
            if not text or text.startswith(("metrics on the holdout", "exit code 0")):
                return
            status.update(output.safe(text[:76]))
            if not output.errors.is_terminal:
                output.errors.print(f"  {output.safe(text[:200])}", soft_wrap=True)

        if not output.errors.is_terminal:
            output.errors.print(f"  {what}")
        yield say


def check_assignments(assignments: list[str] | None, only: Part | None = None) -> None:
    """Refuses settings that the trainer does not have, before anything is read.

    Args:
        assignments: as given by `--set`.
        only: the part that is trained; a setting of the other part would have no effect.

    Raises:
        BadParameter: one of them is invalid.
    """
    found = experiments.find_trainer().invalid_settings(assignments) if assignments else ""
    if found:
        raise typer.BadParameter(found, param_hint="--set")
    for assignment in assignments or ():
        if only and assignment.startswith(f"{only.other}."):
            raise typer.BadParameter(
                f"{assignment} has no effect with --only {only}", param_hint="--set"
            )
