"""Compares the trainer and the baselines on the same split of a dataset."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import polars as pl

from recsys import contract
from recsys.contract import STARS, RatingScale
from recsys.evaluation import (
    Holdout,
    Training,
    predicted_stars,
    rank_by_neighbors,
    rank_by_popularity,
    ranking_metrics,
    rating_error,
    reason_to_skip_knn,
)
from recsys.experiments.local import train_locally, write_scale
from recsys.experiments.names import ModelName, Part, SplitName
from recsys.experiments.parts import SHORTEST, scores_of_part
from recsys.experiments.splits import holdout_masks, mark_holdout

METRICS: Final = (
    "rmse",
    "mae",
    "ndcg@10",
    "liked_ndcg@10",
    "recall@10",
    "recall@20",
    "mrr",
    "coverage",
    "low_rated_share",
    "fit_s",
)

Measured = dict[str, float | None]


def compare_models(
    rows: pl.DataFrame,
    movies: pl.DataFrame,
    split: SplitName,
    models: Sequence[ModelName],
    *,
    seed: int,
    assignments: Sequence[str],
    on_line: Callable[[str], None],
    only: Part | None = None,
    scale: RatingScale = STARS,
) -> dict[str, Any]:
    """Trains and measures each model on each fold of a split.

    Args:
        rows: userId, movieId, rating, timestamp, in the order of the file.
        movies: as in ``movies.parquet``.
        split: how the holdout is chosen.
        models: the models to compare.
        seed: seed of the trainer.
        assignments: settings of the trainer, like ``rating.epochs=12``.
        on_line: called with a line of progress.
        only: the part of the trainer's model that is trained and measured; None: both.
        scale: of the ratings.

    Returns:
        ``split``, ``remark`` (on its ranking metrics; null if none), ``rows``, ``folds``,
        ``holdout_rows`` (all folds), and ``models``: for each its ``name`` and the mean over folds
        of each of `METRICS`, null where it does not apply. With several folds, ``std`` has the
        standard deviations between them. ``fit_s`` is the time to fit the evaluated model, without
        starting a process or evaluating.
    """
    folds: list[dict[ModelName, Measured]] = []
    holdout_rows = 0
    for number, holdout in enumerate(holdout_masks(split, rows), 1):
        holdout_rows += int(holdout.sum())

        def say(line: str, number: int = number) -> None:
            on_line(f"fold {number}: {line}" if split is SplitName.CV5 else line)

        folds.append(
            _measure(
                mark_holdout(rows, holdout), movies, models, seed, assignments, say, only, scale
            )
        )
    return {
        "split": str(split),
        "remark": split.remark or None,
        "rows": rows.height,
        "folds": len(folds),
        "holdout_rows": holdout_rows,
        "seed": seed,
        "models": [_summary(model, [fold[model] for fold in folds]) for model in models],
    }


def _measure(
    interactions: pl.DataFrame,
    movies: pl.DataFrame,
    models: Sequence[ModelName],
    seed: int,
    assignments: Sequence[str],
    on_line: Callable[[str], None],
    only: Part | None,
    scale: RatingScale,
) -> dict[ModelName, Measured]:
    measured: dict[ModelName, Measured] = {}
    wanted = [model for model in models if model is not ModelName.TRAINER]
    if wanted:
        measured |= _baselines(interactions, movies, wanted, on_line, scale)
    if ModelName.TRAINER in models:
        settings = [*(SHORTEST[only.other] if only else ()), *assignments]
        found = _trainer(interactions, movies, seed, settings, on_line, scale)
        measured[ModelName.TRAINER] = scores_of_part(found, only) if only else found
    return measured


def _trainer(
    interactions: pl.DataFrame,
    movies: pl.DataFrame,
    seed: int,
    assignments: Sequence[str],
    on_line: Callable[[str], None],
    scale: RatingScale,
) -> Measured:
    with TemporaryDirectory(prefix="recsys-evaluate-") as folder:
        features = Path(folder, "features")
        features.mkdir()
        interactions.write_parquet(features / contract.INTERACTIONS_FILE)
        movies.write_parquet(features / contract.MOVIES_FILE)
        write_scale(features, scale)
        trained = train_locally(
            features,
            Path(folder, "out"),
            seed=seed,
            assignments=assignments,
            refit=False,
            on_line=on_line,
        )
        return {**trained.metrics.model.values(), "fit_s": trained.fit_s}


def _baselines(
    interactions: pl.DataFrame,
    movies: pl.DataFrame,
    models: Sequence[ModelName],
    on_line: Callable[[str], None],
    scale: RatingScale,
) -> dict[ModelName, Measured]:
    ids = np.sort(movies["movieId"].to_numpy()).astype(np.int64)
    held = pl.col("split") == "holdout"
    training = Training.of(interactions.filter(~held), ids, scale)
    holdout = Holdout.of(interactions.filter(held), ids, scale)
    popularity = training.popularity
    measured: dict[ModelName, Measured] = {}
    stars = {ModelName.GLOBAL_MEAN, ModelName.MOVIE_MEAN, ModelName.BIAS} & set(models)
    if stars:
        began = time.monotonic()
        guesses = predicted_stars(training, holdout)
        # One fit gives all three baselines, so its time counts for the bias model only.
        took = {ModelName.BIAS: time.monotonic() - began}
        for model in stars:
            error = rating_error(holdout.stars, guesses[model])
            measured[model] = {**error, "fit_s": took.get(model)}
    if ModelName.POPULARITY in models:
        began = time.monotonic()
        ranking = rank_by_popularity(training, holdout)
        took_s = time.monotonic() - began
        measured[ModelName.POPULARITY] = {
            **ranking_metrics(holdout, ranking, popularity),
            "fit_s": took_s,
        }
    if ModelName.ITEM_KNN in models:
        measured[ModelName.ITEM_KNN] = {}
        if reason := reason_to_skip_knn(training, holdout):
            on_line(f"item_knn is skipped: {reason}")
        else:
            on_line("item_knn: similarities of all pairs of movies")
            began = time.monotonic()
            ranking = rank_by_neighbors(training, holdout)
            took_s = time.monotonic() - began
            measured[ModelName.ITEM_KNN] = {
                **ranking_metrics(holdout, ranking, popularity),
                "fit_s": took_s,
            }
    return measured


def _summary(model: ModelName, folds: Sequence[Measured]) -> dict[str, Any]:
    summary: dict[str, Any] = {"name": str(model)}
    spread: dict[str, float] = {}
    for metric in METRICS:
        values = [value for fold in folds if (value := fold.get(metric)) is not None]
        summary[metric] = statistics.fmean(values) if values else None
        if len(values) > 1:
            spread[metric] = statistics.stdev(values)
    return {**summary, "std": spread} if len(folds) > 1 else summary
