"""`evaluate`: compares the trainer with baselines on a standard split of a dataset."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys import dataset, experiments
from recsys.cli import output
from recsys.cli.defaults import SEED
from recsys.cli.metrics_table import print_models
from recsys.cli.output import JsonOption, console
from recsys.cli.source import (
    SourceOption,
    feature_settings,
    fetch_settings,
    s3_of_source,
    source_of,
)
from recsys.cli.training_options import (
    OnlyOption,
    SeedOption,
    SetOption,
    check_assignments,
    doing,
)
from recsys.experiments import ModelName, SplitName
from recsys.scratch import scratch_folder


def evaluate(
    split: Annotated[SplitName, typer.Option("--split", help="Which ratings are held out.")],
    source: SourceOption = None,
    models: Annotated[
        str,
        typer.Option("--models", help="Models to compare, separated by commas."),
    ] = ",".join(ModelName),
    seed: SeedOption = SEED,
    assignments: SetOption = None,
    only: OnlyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the trainer with baselines on a standard split of a dataset; needs no server.

    random-10: scikit-learn's train_test_split(test_size=0.1, random_state=50) over the rows in
    file order. temporal-10, temporal-20: the last 10 or 20 % of each user's ratings by time
    (rounded up). leave-last-out: each user's last rating. last-visit: each user's
    ratings after the last gap of a day or more, if there are ten earlier ones. cv5: KFold(5,
    shuffle=True, random_state=50), means over the folds.

    Prints one row per model. rmse and mae are in the scale of the ratings. The other metrics rank
    all movies that the user has not rated in training; every held-out movie counts as relevant, in
    the column liked only those with 4 stars or more (of another scale, as many points: 8 of 1 to
    10).
    """
    chosen, settings = _models(models), feature_settings()
    check_assignments(assignments, only)
    with doing("reading the dataset") as say, scratch_folder("evaluate") as folder:
        chosen_source = source_of(source)
        with s3_of_source(chosen_source) as s3:
            fetched = dataset.obtain_dataset(
                chosen_source,
                folder,
                s3=s3,
                progress=lambda done, total: None,
                settings=fetch_settings(chosen_source),
                columns=settings.columns,
            )
        with dataset.open_dataset(fetched.path, columns=settings.columns) as archive:
            rows, movies = experiments.read_in_file_order(archive, settings.scale, settings.id_bits)
        result = experiments.compare_models(
            rows,
            movies,
            split,
            chosen,
            seed=seed,
            assignments=assignments or (),
            on_line=say,
            only=only,
            scale=settings.scale,
        )
    result |= {"dataset_md5": fetched.md5, "only": only}
    if as_json:
        output.print_json(result)
        return
    console.print(
        f"[bold]{split}[/]: {result['holdout_rows']:,} of {result['rows']:,} ratings held out"
        + (f", means over {result['folds']} folds" if result["folds"] > 1 else "")
    )
    print_models(result["models"])
    if only:
        console.print(f"\ntrainer: only {only} was trained; its other metrics are left out")
    if result["remark"]:
        console.print(f"\n{result['remark']}", style="dim", soft_wrap=True)


def _models(text: str) -> list[ModelName]:
    chosen = []
    for name in text.split(","):
        try:
            chosen.append(ModelName(name.strip()))
        except ValueError:
            raise typer.BadParameter(
                f"unknown model {name.strip()!r}; models: {', '.join(ModelName)}"
            ) from None
    return list(dict.fromkeys(chosen))
