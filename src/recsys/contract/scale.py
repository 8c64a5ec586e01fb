"""The scale of a dataset's ratings, and the map between it and stars.

Thresholds and hyper-parameters are given in stars, 0.5 to 5. Ratings, predictions and their errors
are in the scale of the dataset; docs/adr/0039-rating-scales.md says where the two meet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, Self

from pydantic import Field, model_validator

from recsys.contract.keys import FrozenModel

MIN_STARS: Final = 0.5
MAX_STARS: Final = 5.0
STEP: Final = 0.5
"""Ratings are multiples of it, in every scale."""
LARGEST_RATING: Final = 100
_TEXT: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?):([0-9]+(?:\.[0-9]+)?)")


class RatingScale(FrozenModel):
    """The least and the largest rating of a dataset; stars, 0.5 to 5, by default."""

    min: float = Field(
        default=MIN_STARS, ge=0, le=LARGEST_RATING, multiple_of=STEP, description="least rating"
    )
    max: float = Field(
        default=MAX_STARS, ge=0, le=LARGEST_RATING, multiple_of=STEP, description="largest rating"
    )

    @model_validator(mode="after")
    def _is_ascending(self) -> Self:
        if self.max < self.min + 1:
            raise ValueError(
                f"not a scale of ratings: found {self}, expected a largest rating that is at least "
                "1 above the least"
            )
        return self

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads ``1:10``; raises ValueError if it is not a scale."""
        match = _TEXT.fullmatch(text)
        if not match:
            raise ValueError(f"not a scale of ratings: found {text[:40]!r}, expected such as 1:10")
        return cls(min=float(match[1]), max=float(match[2]))

    def __str__(self) -> str:
        return f"{self.min:g}:{self.max:g}"

    @property
    def is_stars(self) -> bool:
        """Whether the ratings are stars, so that nothing is mapped."""
        return (self.min, self.max) == (MIN_STARS, MAX_STARS)

    @property
    def factor(self) -> float:
        """Points of the scale per star: 2 for a scale from 1 to 10."""
        return (self.max - self.min) / (MAX_STARS - MIN_STARS)

    def to_stars(self, rating: Any) -> Any:
        """Maps ratings to stars, linearly: ``min`` to 0.5, ``max`` to 5.

        Args:
            rating: a number, an array, or an expression of polars.
        """
        return (rating - self.min) / self.factor + MIN_STARS

    def from_stars(self, stars: Any) -> Any:
        """Maps stars to ratings; the inverse of `to_stars`."""
        return (stars - MIN_STARS) * self.factor + self.min

    def steps(self) -> Iterator[float]:
        """Yields all possible ratings, ascending."""
        for number in range(round(self.min / STEP), round(self.max / STEP) + 1):
            yield number * STEP

    def contains(self, rating: float) -> bool:
        """Whether a number is a possible rating."""
        return self.min <= rating <= self.max and rating % STEP == 0


STARS: Final = RatingScale()
