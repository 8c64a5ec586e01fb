"""Fits the rating model: epochs, early stopping and checkpoints."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import tensorflow as tf

from recsys.errors import TrainingError, TransientError
from trainer.checkpoints import NO_CHECKPOINTS, Checkpoint, CheckpointStore
from trainer.config import RatingConfig
from trainer.data import Ratings
from trainer.distributed.collectives import SINGLE_WORKER, WorkerGroup
from trainer.progress import EpochRecord, OnEpoch
from trainer.rating.batches import epoch_batches
from trainer.rating.folded import FoldedRating
from trainer.rating.model import RatingMembers

log = logging.getLogger(__name__)

_NOISE: Final = 1e-3
"""RMSE (stars) by which a later epoch may be worse and is still preferred: its learning rate is
lower, which on the holdouts of ml-latest-small was worth more than this difference."""
_FOLDED: Final = ("user_vectors", "movie_vectors", "user_bias", "movie_bias")


@dataclass(frozen=True)
class RatingFit:
    """A fitted rating model.

    Attributes:
        folded: the model, folded for serving.
        epochs: number of epochs that it was fitted for: all, or the best on the validation set.
    """

    folded: FoldedRating
    epochs: int


def fit_rating_model(
    ratings: Ratings,
    config: RatingConfig,
    rng: np.random.Generator,
    on_epoch: OnEpoch,
    validation: Ratings | None = None,
    *,
    epochs: int | None = None,
    checkpoints: CheckpointStore = NO_CHECKPOINTS,
    phase: str = "evaluated-rating",
    workers: WorkerGroup = SINGLE_WORKER,
) -> RatingFit:
    """Fits the rating model.

    Args:
        ratings: the interactions to fit to.
        config: hyper-parameters.
        rng: the same state gives the same model on the same machine.
        on_epoch: called after each epoch.
        validation: pairs for early stopping: training ends after ``config.patience`` epochs without
            a better RMSE on them, and the best epoch's model is returned.
        epochs: number of epochs; the learning rate is scheduled for ``config.epochs`` regardless.
        checkpoints: where the state is saved after an epoch, and resumed from.
        phase: name of the checkpoint.
        workers: the workers that train together; each calls this with the same arguments.

    Raises:
        TrainingError: the loss is not finite.
        TransientError: the workers read different checkpoints.
    """
    run = _Run(ratings, config, rng, checkpoints, phase, workers)
    for record in run.records:
        on_epoch(record)
    for epoch in range(len(run.records) + 1, (epochs or config.epochs) + 1):
        if run.is_stalled():
            log.info("rating model: stopped early: no better for %d epochs", config.patience)
            break
        started = time.monotonic()
        losses = [run.members.step(batch) for batch in epoch_batches(ratings, config, rng)]
        loss = float(tf.reduce_mean(tf.stack(losses)))
        if not np.isfinite(loss):
            raise TrainingError(
                f"training diverged in epoch {epoch} of the rating model",
                found=f"loss {loss}",
                hint="lower rating.learning_rate",
            )
        folded = run.members.fold() if validation else None
        rmse = workers.all_reduce_mean(_rmse(folded, validation)) if folded and validation else None
        record = EpochRecord(
            "scout" if phase == "scout" else "rating",
            epoch,
            loss,
            rmse,
            time.monotonic() - started,
            epochs or config.epochs,
        )
        run.end_epoch(record, folded)
        on_epoch(record)
    run.save()
    best = run.best or run.members.fold()
    return RatingFit(best.compress(config.export_dim), run.best_epoch or len(run.records))


class _Run:
    """The state of a fit, which checkpoints save and restore."""

    def __init__(
        self,
        ratings: Ratings,
        config: RatingConfig,
        rng: np.random.Generator,
        checkpoints: CheckpointStore,
        phase: str,
        workers: WorkerGroup,
    ) -> None:
        self._ratings, self._config, self._rng = ratings, config, rng
        self._checkpoints, self._phase = checkpoints, phase
        self.records: list[EpochRecord] = []
        self.best: FoldedRating | None = None
        self.best_epoch = 0
        self._saved_epochs = 0
        self.members = RatingMembers(ratings, config, rng, workers)
        checkpoint = checkpoints.load(phase)
        if checkpoint:
            self._resume(checkpoint)
        if workers.all_reduce_mean(len(self.records)) != len(self.records):
            raise TransientError(
                f"the workers did not read the same checkpoint of {phase}",
                found=f"{len(self.records)} epochs in this worker's",
                hint="no action is needed: the next attempt reads it again",
            )

    def is_stalled(self) -> bool:
        """Returns whether the validation RMSE has not improved for ``patience`` epochs."""
        return bool(self.best and len(self.records) - self.best_epoch >= self._config.patience)

    def end_epoch(self, record: EpochRecord, folded: FoldedRating | None) -> None:
        """Records an epoch, and saves a checkpoint if one is due."""
        self.records.append(record)
        rmse = record.validation_rmse
        if rmse is not None and rmse <= _NOISE + min(
            r.validation_rmse or rmse for r in self.records
        ):
            self.best, self.best_epoch = folded, record.epoch
        if self._checkpoints.due():
            self.save()

    def save(self) -> None:
        """Saves a checkpoint if there are epochs since the last one."""
        if self._checkpoints is not NO_CHECKPOINTS and len(self.records) > self._saved_epochs:
            self._checkpoints.save(self._phase, self._checkpoint())
            self._saved_epochs = len(self.records)

    def _checkpoint(self) -> Checkpoint:
        arrays = self.members.arrays()
        if self.best:
            arrays |= {f"best/{name}": getattr(self.best, name) for name in _FOLDED}
        return Checkpoint(
            arrays,
            {
                "rows": len(self._ratings),
                "rng": self._rng.bit_generator.state,
                "best_epoch": self.best_epoch,
                "records": [asdict(record) for record in self.records],
            },
        )

    def _resume(self, checkpoint: Checkpoint) -> None:
        facts = checkpoint.facts
        if facts["rows"] != len(self._ratings):
            log.warning("the checkpoint of %s is of other interactions: not used", self._phase)
            return
        self.members.restore(checkpoint.arrays)
        self._rng.bit_generator.state = facts["rng"]
        self.records = [EpochRecord(**record) for record in facts["records"]]
        self._saved_epochs = len(self.records)
        self.best_epoch = facts["best_epoch"]
        if self.best_epoch:
            tables = {name: checkpoint.arrays[f"best/{name}"] for name in _FOLDED}
            self.best = FoldedRating(self._ratings.user_ids, self._ratings.movie_ids, **tables)
        log.info("%s resumes after epoch %d", self._phase, len(self.records))


def _rmse(folded: FoldedRating, validation: Ratings) -> float:
    stars = folded.predict(
        validation.user_ids[validation.user], validation.movie_ids[validation.movie]
    )
    return float(np.sqrt(np.mean(np.square(stars - validation.stars))))
