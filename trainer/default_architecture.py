"""The trainer's own architecture: the factor models of `trainer.rating`, `trainer.ranking`."""

from __future__ import annotations

import gc
import time
from dataclasses import asdict

import numpy as np
import polars as pl
import tensorflow as tf

from recsys.errors import TransientError
from recsys.evaluation import Towers
from trainer import background
from trainer.architecture import Fit, Purpose
from trainer.background import Background, one_blas_thread
from trainer.checkpoints import Checkpoint, CheckpointStore
from trainer.config import RatingConfig, TrainingConfig
from trainer.data import Ratings, make_ratings
from trainer.distributed.collectives import SINGLE_WORKER, WorkerGroup
from trainer.progress import EpochRecord, OnEpoch
from trainer.ranking.fit import RankingFit, fit_ranking_model
from trainer.rating.fit import fit_rating_model
from trainer.rating.folded import FoldedRating
from trainer.rating.gibbs import sample_ratings_model
from trainer.rating.model import recency_weights
from trainer.warm_start import WarmStart


def fit_models(
    rows: pl.DataFrame,
    movies: pl.DataFrame,
    config: TrainingConfig,
    seed: int,
    on_epoch: OnEpoch,
    purpose: Purpose,
    checkpoints: CheckpointStore,
    epochs: int | None = None,
    workers: WorkerGroup = SINGLE_WORKER,
    start: WarmStart | None = None,
) -> Fit:
    """Fits the factor model that predicts stars, and the towers; see `FitModels`."""
    tf.config.experimental.enable_op_determinism()
    ratings = make_ratings(rows, movies)
    # The last reference to a table of a training part: half a gigabyte with 32 million rows.
    del rows
    with one_blas_thread():
        return _fit(ratings, config, seed, on_epoch, purpose, checkpoints, epochs, workers, start)


def _fit(
    ratings: Ratings,
    config: TrainingConfig,
    seed: int,
    on_epoch: OnEpoch,
    purpose: Purpose,
    checkpoints: CheckpointStore,
    epochs: int | None,
    workers: WorkerGroup,
    start: WarmStart | None,
) -> Fit:
    history: list[EpochRecord] = []

    def record(epoch: EpochRecord) -> None:
        history.append(epoch)
        on_epoch(epoch)

    started = time.monotonic()
    for_split, for_rating, for_towers, for_samples = np.random.default_rng(seed).spawn(4)
    sized = config.rating.resolve_size(len(ratings))
    samples = _begin_sampling(ratings, sized, for_samples)
    hidden = for_split.random(len(ratings)) < sized.validation_share
    # A user's first interaction is never hidden: every user keeps at least one.
    hidden[ratings.user_start[:-1]] = False
    validation = ratings.subset(hidden) if hidden.any() else None
    fitted = ratings.subset(~hidden) if validation else ratings
    scout = sized.scout_config() if validation else None
    if scout:
        scouted = fit_rating_model(
            fitted,
            scout,
            for_rating,
            record,
            validation,
            checkpoints=checkpoints,
            phase="scout",
            workers=workers,
        )
        epochs, fitted, validation = scouted.epochs, ratings, None
        _free_variables()
    rating = fit_rating_model(
        fitted,
        sized,
        for_rating,
        record,
        validation,
        epochs=epochs,
        checkpoints=checkpoints,
        phase=f"{purpose}-rating",
        workers=workers,
    )
    folded = rating.folded
    if samples:
        folded = folded.average(samples.result()).compress(sized.export_dim)
    # Free memory before the towers are fitted.
    del fitted, validation, hidden, samples
    _free_variables()
    rating_ended = time.monotonic()
    ranking = _fit_towers(ratings, config, for_towers, record, purpose, checkpoints, workers, start)
    _free_variables()
    return Fit(
        rating=folded,
        rating_config=sized,
        rating_epochs=rating.epochs,
        towers=ranking.towers,
        interactions=len(ratings),
        history=tuple(history),
        seconds={"rating": rating_ended - started, "towers": time.monotonic() - rating_ended},
        warm_start=WarmStart(ratings.user_ids, ranking.variables),
    )


def _begin_sampling(
    ratings: Ratings, config: RatingConfig, rng: np.random.Generator
) -> Background[FoldedRating] | None:
    count, factors = config.samples, config.sample_factors
    if not count:
        return None
    return Background(
        lambda: sample_ratings_model(
            ratings, factors, count, recency_weights(ratings, config.recency), rng
        ),
        in_thread=len(ratings) <= background.LARGEST,
    )


def _free_variables() -> None:
    """Frees the variables of a finished fit.

    A ``tf.function`` of a bound method and its object reference each other, so the tables, Adam's
    moments and the copies of all interactions stay in memory until the garbage collector runs.
    """
    gc.collect()


def _fit_towers(
    ratings: Ratings,
    config: TrainingConfig,
    rng: np.random.Generator,
    on_epoch: OnEpoch,
    purpose: Purpose,
    checkpoints: CheckpointStore,
    workers: WorkerGroup,
    start: WarmStart | None,
) -> RankingFit:
    """Fits the towers, or loads them from a checkpoint of their finished fit."""
    phase = f"{purpose}-towers"
    checkpoint = checkpoints.load(phase)
    is_found = bool(checkpoint and checkpoint.facts["rows"] == len(ratings))
    if workers.all_reduce_mean(is_found) != is_found:
        raise TransientError(
            f"the workers did not read the same checkpoint of {phase}",
            hint="no action is needed: the next attempt reads it again",
        )
    if checkpoint and is_found:
        for record in checkpoint.facts["records"]:
            on_epoch(EpochRecord(**record))
        towers = Towers(
            ratings.user_ids,
            ratings.movie_ids,
            checkpoint.arrays["users"],
            checkpoint.arrays["movies"],
        )
        prefix = "variables/"
        return RankingFit(
            towers,
            {
                name.removeprefix(prefix): array
                for name, array in checkpoint.arrays.items()
                if name.startswith(prefix)
            },
        )
    records: list[EpochRecord] = []

    def record_epoch(record: EpochRecord) -> None:
        records.append(record)
        on_epoch(record)

    fitted = fit_ranking_model(ratings, config.ranking, rng, record_epoch, workers, start)
    checkpoints.save(
        phase,
        Checkpoint(
            {
                "users": fitted.towers.users,
                "movies": fitted.towers.movies,
                **{f"variables/{name}": array for name, array in fitted.variables.items()},
            },
            {"rows": len(ratings), "records": [asdict(record) for record in records]},
        ),
    )
    return fitted
