"""Fits the ranking model and exports it as towers of all users and movies."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import numpy as np
import tensorflow as tf

from recsys.errors import TrainingError
from trainer import background
from trainer.background import Background
from trainer.config import RankingConfig
from trainer.data import Floats, Ratings
from trainer.distributed.collectives import SINGLE_WORKER, WorkerGroup
from trainer.progress import EpochRecord, OnEpoch
from trainer.ranking.ease import EaseModel, fit_ease
from trainer.ranking.examples import examples_before, newest_examples, sample_rows
from trainer.ranking.item_transitions import ItemTransitionModel, fit_item_transitions
from trainer.ranking.model import RankingModel
from trainer.ranking.towers import Towers, project_to_tower_dim
from trainer.warm_start import Arrays, WarmStart

_CHUNK: Final = 8192
_BATCHES: Final = 100
_BATCH_SIZES: Final = (256, 4096)
_SPREAD_USERS: Final = 500
_TINY: Final = 1e-9


@dataclass(frozen=True)
class RankingFit:
    """A fitted ranking model.

    Attributes:
        towers: of all users and movies.
        variables: see `trainer.warm_start`.
    """

    towers: Towers
    variables: Arrays


def fit_towers(
    ratings: Ratings,
    config: RankingConfig,
    rng: np.random.Generator,
    on_epoch: OnEpoch,
    workers: WorkerGroup = SINGLE_WORKER,
) -> Towers:
    """Returns the towers of `fit_ranking_model`."""
    return fit_ranking_model(ratings, config, rng, on_epoch, workers).towers


def fit_ranking_model(
    ratings: Ratings,
    config: RankingConfig,
    rng: np.random.Generator,
    on_epoch: OnEpoch,
    workers: WorkerGroup = SINGLE_WORKER,
    start: WarmStart | None = None,
) -> RankingFit:
    """Trains the ranking model and exports it as towers of all users and movies.

    Args:
        ratings: the interactions to fit to.
        config: hyper-parameters.
        rng: the same state gives the same towers on the same machine.
        on_epoch: called after each epoch.
        workers: the workers that train together; each calls this with the same arguments.
        start: variables to start from.

    Raises:
        TrainingError: the loss is not finite.
    """
    for_transitions, rng, for_ease = rng.spawn(3)
    linear = Background(
        lambda: (
            fit_item_transitions(ratings, config, for_transitions),
            fit_ease(ratings, config, for_ease),
        ),
        in_thread=len(ratings) <= background.LARGEST,
    )
    sampled = sample_rows(ratings, config.stride, rng)
    per_epoch = min(len(sampled), config.moments)
    batch = config.batch_size or int(np.clip(per_epoch // _BATCHES, *_BATCH_SIZES))
    steps = -(-per_epoch // batch)
    model = RankingModel(ratings, config, rng, steps, workers)
    if start:
        model.start_from(start)
    for epoch in range(1, config.epochs + 1):
        started = time.monotonic()
        order = rng.permutation(sampled)[:per_epoch]
        losses = [
            model.step(examples_before(ratings, rows[workers.index :: workers.count], config), rng)
            for rows in np.array_split(order, steps)
        ]
        loss = float(tf.reduce_mean(tf.stack(losses)))
        if not np.isfinite(loss):
            raise TrainingError(
                f"training diverged in epoch {epoch} of the ranking model",
                found=f"loss {loss}",
                hint="lower ranking.learning_rate",
            )
        on_epoch(
            EpochRecord("ranking", epoch, loss, None, time.monotonic() - started, config.epochs)
        )
    return RankingFit(_towers(ratings, config, model, *linear.result()), model.arrays())


def _towers(
    ratings: Ratings,
    config: RankingConfig,
    model: RankingModel,
    transitions: ItemTransitionModel,
    ease: EaseModel,
) -> Towers:
    """Joins the towers of all models in one space; a user's is computed from the history."""
    movies, bias = model.movies()
    dims = np.cumsum([movies.shape[1], config.transition_dim, config.ease_dim])
    wide = np.zeros((len(ratings.user_ids), dims[-1]), np.float32)
    neural, linear, other = np.split(wide, dims[:-1], axis=1)
    for chosen in np.array_split(np.arange(len(wide), dtype=np.int32), len(wide) // _CHUNK + 1):
        examples = newest_examples(ratings, chosen, config)
        neural[chosen] = model.users(examples)
        linear[chosen] = transitions.users(examples)
        other[chosen] = ease.users(ratings, int(chosen[0]), int(chosen[-1]) + 1)
    spread = _spread(neural, movies, bias)
    joined = [movies]
    for weight, users, after in (
        (config.transition_weight, linear, transitions.after),
        (config.ease_weight, other, ease.after),
    ):
        joined.append(weight * spread / max(_spread(users, after), _TINY) * after)
    users, movies = project_to_tower_dim(wide, np.hstack(joined), bias)
    return Towers(ratings.user_ids, ratings.movie_ids, users, movies)


def _spread(users: Floats, movies: Floats, bias: Floats | None = None) -> float:
    """Returns the standard deviation of a user's scores, averaged over a sample of users."""
    sample = users[:: len(users) // _SPREAD_USERS + 1]
    scores = sample @ movies.T + (0 if bias is None else bias)
    return float(np.mean(scores.std(axis=1)))
