"""The command `tune`: searches for better settings of the trainer."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from recsys import experiments
from recsys.cli import extras, output
from recsys.cli.defaults import SEED
from recsys.cli.output import JsonOption, console
from recsys.cli.source import SourceOption, make_features
from recsys.cli.training_options import SeedOption, doing
from recsys.experiments import Objective
from recsys.scratch import scratch_folder


def tune(
    source: SourceOption = None,
    objective: Annotated[
        Objective, typer.Option("--objective", help="Metric to optimize.")
    ] = Objective.RMSE,
    trials: Annotated[
        int,
        typer.Option(
            "--trials",
            min=1,
            help="Number of trials, in addition to the trainer's default settings.",
        ),
    ] = 20,
    seed: SeedOption = SEED,
    as_json: JsonOption = False,
) -> None:
    """Search for better settings of the trainer, without looking at the holdout.

    Each trial trains on an inner split of the training part; Optuna chooses the next settings.
    Prints all trials, and the best settings as a value for RECSYS_BUILD_SETTINGS. With that value
    the next run makes a new build, which the gate judges on the holdout.
    """
    extras.require("tune")
    experiments.find_trainer().check_installed()
    with doing("reading the dataset") as say, scratch_folder("tune") as features:
        make_features(source, features)
        result = experiments.tune(features, objective, trials, seed, say)
    if as_json:
        output.print_json(result)
        return
    _print(result)


def _print(result: dict[str, Any]) -> None:
    shown = output.table("trial", f" {result['objective']}", "settings")
    shown.add_row("default", f"{result['defaults']:.4f}", "the trainer's defaults")
    for number, trial in enumerate(result["trials"], 1):
        value = "failed" if trial["value"] is None else f"{trial['value']:.4f}"
        settings = " ".join(f"{k.split('.')[1]}={v:.3g}" for k, v in trial["overrides"].items())
        shown.add_row(str(number), value, settings)
    console.print(shown)
    if not result["build_settings"]:
        console.print("\nNo trial was better than the trainer's default settings.")
        return
    console.print(
        f"\nbest {result['objective']}: {result['best']:.4f}; to build with these settings:"
    )
    settings = json.dumps(result["build_settings"])
    console.print(f"export RECSYS_BUILD_SETTINGS='{settings}'", markup=False, soft_wrap=True)
