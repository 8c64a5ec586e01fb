"""What is told of a training while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of one model.

    Attributes:
        model: which one; a scout is a rating model of few members that finds out when to stop.
        epoch: 1 is the first.
        loss: mean cross entropy for ``ranking``, else mean squared error in stars.
        validation_rmse: stars; None where nothing was kept from the training.
        seconds: how long the epoch took.
    """

    model: Literal["scout", "rating", "ranking"]
    epoch: int
    loss: float
    validation_rmse: float | None
    seconds: float

    def __str__(self) -> str:
        rmse = (
            "" if self.validation_rmse is None else f" validation rmse {self.validation_rmse:.4f}"
        )
        return (
            f"{self.model} model epoch {self.epoch}: loss {self.loss:.4f}{rmse}"
            f" ({self.seconds:.1f} s)"
        )


OnEpoch: TypeAlias = Callable[[EpochRecord], None]
