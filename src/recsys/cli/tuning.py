"""The command `tune`: searches for better settings of the trainer."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from recsys import experiments, recommenders
from recsys.cli import extras, output
from recsys.cli.defaults import SEED
from recsys.cli.output import JsonOption, console
from recsys.cli.source import SourceOption, build_settings, chosen_description, make_features
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
    Prints all trials, and the settings to build with: for the recommender's description, or as a
    value for RECSYS_BUILD_SETTINGS. With them the next run makes a new build, which the gate judges
    on the holdout.
    """
    extras.require("tune")
    described = chosen_description()
    settings = build_settings(described)
    experiments.find_trainer().check_installed()
    with doing("reading the dataset") as say, scratch_folder("tune") as features:
        make_features(source, features)
        result = experiments.tune(features, objective, trials, seed, say)
    built = experiments.with_overrides(settings, result.pop("overrides"))
    if as_json:
        document = built.model_dump(mode="json", exclude_defaults=True)
        output.print_json({**result, "build_settings": document})
        return
    _print(result)
    if not built.trainer.overrides:
        console.print("\nNo trial was better than the trainer's default settings.")
        return
    console.print(
        f"\nbest {result['objective']}: {result['best']:.4f}; to build with these settings:"
    )
    text = recommenders.build_text(described, built)
    if text.startswith("build:"):
        file = output.descriptions_folder() / f"{recommenders.chosen_recommender()}.yaml"
        console.print(f"in {output.safe(output.short_path(file))}:\n", soft_wrap=True)
    console.print(text, markup=False, soft_wrap=True)


def _print(result: dict[str, Any]) -> None:
    shown = output.table("trial", f" {result['objective']}", "settings")
    shown.add_row("default", f"{result['defaults']:.4f}", "the trainer's defaults")
    for number, trial in enumerate(result["trials"], 1):
        value = "failed" if trial["value"] is None else f"{trial['value']:.4f}"
        settings = " ".join(f"{k.split('.')[1]}={v:.3g}" for k, v in trial["overrides"].items())
        shown.add_row(str(number), value, settings)
    console.print(shown)
