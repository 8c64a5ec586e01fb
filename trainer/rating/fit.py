"""A training of the rating model: epochs, when to stop, and what is kept in case it is killed."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import tensorflow as tf

from recsys.errors import TrainingError, TransientError
from trainer.checkpoints import NOWHERE, Checkpoint, Keeper
from trainer.config import RatingConfig
from trainer.data import Ratings
from trainer.distributed.workers import ALONE, Workers
from trainer.progress import EpochRecord, OnEpoch
from trainer.rating.batches import epoch_batches
from trainer.rating.folded import FoldedRating
from trainer.rating.model import RatingMembers

log = logging.getLogger(__name__)

_NOISE: Final = 1e-3
"""Stars by which a later epoch may be worse and is still preferred: its learning rate is lower, and
on the holdouts of ml-latest-small that was worth more than the difference."""
_FOLDED: Final = ("user_vectors", "movie_vectors", "user_bias", "movie_bias")


@dataclass(frozen=True)
class RatingFit:
    """A fitted rating model.

    Attributes:
        folded: as it predicts.
        epochs: number of epochs after which it was so: the last, or the best on the validation.
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
    keeper: Keeper = NOWHERE,
    phase: str = "evaluated-rating",
    workers: Workers = ALONE,
) -> RatingFit:
    """Trains the rating model.

    Args:
        ratings: what it is fitted to.
        config: how.
        rng: the same state gives the same model on the same machine.
        on_epoch: told after each epoch.
        validation: pairs that decide when to stop, and nothing else: training ends when the RMSE
            on them has risen for ``config.patience`` epochs, and the last good epoch is returned.
        epochs: stop after so many, whatever ``config.epochs`` lays the learning rate out for.
        keeper: where the state is kept after an epoch, and continued from.
        phase: under which name.
        workers: who trains; all of them call this with the same arguments.

    Raises:
        TrainingError: the loss is no longer a number.
    """
    run = _Run(ratings, config, rng, keeper, phase, workers)
    for record in run.records:
        on_epoch(record)
    for epoch in range(len(run.records) + 1, (epochs or config.epochs) + 1):
        if run.is_stalled():
            log.info("rating model: no better for %d epochs: stopped", config.patience)
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
        folded = run.members.folded() if validation else None
        rmse = workers.agreed(_rmse(folded, validation)) if folded and validation else None
        record = EpochRecord(
            "scout" if phase == "scout" else "rating", epoch, loss, rmse, time.monotonic() - started
        )
        run.end_epoch(record, folded)
        on_epoch(record)
    run.keep()
    best = run.best or run.members.folded()
    return RatingFit(best.compressed(config.export_dim), run.best_epoch or len(run.records))


class _Run:
    """A training as far as it has come: what a checkpoint holds."""

    def __init__(
        self,
        ratings: Ratings,
        config: RatingConfig,
        rng: np.random.Generator,
        keeper: Keeper,
        phase: str,
        workers: Workers,
    ) -> None:
        self._ratings, self._config, self._rng = ratings, config, rng
        self._keeper, self._phase = keeper, phase
        self.records: list[EpochRecord] = []
        self.best: FoldedRating | None = None
        self.best_epoch = 0
        self._kept = 0
        self.members = RatingMembers(ratings, config, rng, workers)
        kept = keeper.load(phase)
        if kept:
            self._continue(kept)
        if workers.agreed(len(self.records)) != len(self.records):
            raise TransientError(
                f"the workers do not find the same checkpoint of {phase}",
                found=f"{len(self.records)} epochs here",
                hint="the next try reads it again",
            )

    def is_stalled(self) -> bool:
        """Whether the validation has seen no progress for too long."""
        return bool(self.best and len(self.records) - self.best_epoch >= self._config.patience)

    def end_epoch(self, record: EpochRecord, folded: FoldedRating | None) -> None:
        """Notes an epoch and keeps the state if that is due."""
        self.records.append(record)
        rmse = record.validation_rmse
        if rmse is not None and rmse <= _NOISE + min(
            r.validation_rmse or rmse for r in self.records
        ):
            self.best, self.best_epoch = folded, record.epoch
        if self._keeper.due():
            self.keep()

    def keep(self) -> None:
        """Keeps the state as it is now."""
        if self._keeper is not NOWHERE and len(self.records) > self._kept:
            self._keeper.save(self._phase, self._checkpoint())
            self._kept = len(self.records)

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

    def _continue(self, kept: Checkpoint) -> None:
        facts = kept.facts
        if facts["rows"] != len(self._ratings):
            log.warning("the checkpoint of %s knows other interactions: not used", self._phase)
            return
        self.members.restore(kept.arrays)
        self._rng.bit_generator.state = facts["rng"]
        self.records = [EpochRecord(**record) for record in facts["records"]]
        self._kept = len(self.records)
        self.best_epoch = facts["best_epoch"]
        if self.best_epoch:
            tables = {name: kept.arrays[f"best/{name}"] for name in _FOLDED}
            self.best = FoldedRating(self._ratings.user_ids, self._ratings.movie_ids, **tables)
        log.info("%s continues after epoch %d", self._phase, len(self.records))


def _rmse(folded: FoldedRating, asked: Ratings) -> float:
    stars = folded.predict(asked.user_ids[asked.user], asked.movie_ids[asked.movie])
    return float(np.sqrt(np.mean(np.square(stars - asked.stars))))
