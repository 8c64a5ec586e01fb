"""Progress of a training: one record for each epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of one model.

    Attributes:
        model: a scout is a rating model with few members that determines the number of epochs.
        epoch: from 1.
        loss: mean cross entropy of ``ranking``, mean squared error (stars) of the others.
        validation_rmse: in stars; None without validation.
        seconds: duration of the epoch.
        epochs: largest number of epochs; None if it was not recorded.
    """

    model: Literal["scout", "rating", "ranking"]
    epoch: int
    loss: float
    validation_rmse: float | None
    seconds: float
    epochs: int | None = None

    def __str__(self) -> str:
        rmse = (
            "" if self.validation_rmse is None else f" validation rmse {self.validation_rmse:.4f}"
        )
        total = "" if self.epochs is None else f" of {self.epochs}"
        return (
            f"{self.model} model epoch {self.epoch}{total}: loss {self.loss:.4f}{rmse}"
            f" ({self.seconds:.1f} s)"
        )


OnEpoch: TypeAlias = Callable[[EpochRecord], None]
