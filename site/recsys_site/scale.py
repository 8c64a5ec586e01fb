"""The scale of a dataset's ratings, and the map between it and stars.

The code is like src/recsys/contract/scale.py, because the site's image does not contain that
package. tests/site/test_same_as_pipeline.py checks that both give the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

MIN_STARS: Final = 0.5
MAX_STARS: Final = 5.0
STEP: Final = 0.5
LARGEST_RATING: Final = 100


@dataclass(frozen=True)
class RatingScale:
    """The least and the largest rating of a dataset.

    Attributes:
        min: the least rating.
        max: the largest rating.
    """

    min: float = MIN_STARS
    max: float = MAX_STARS

    @property
    def is_stars(self) -> bool:
        """Whether the ratings are stars, so that nothing is mapped."""
        return (self.min, self.max) == (MIN_STARS, MAX_STARS)

    def to_stars(self, rating: Any) -> Any:
        """Maps ratings, numbers or an array, to stars: ``min`` to 0.5, ``max`` to 5."""
        return (rating - self.min) * (MAX_STARS - MIN_STARS) / (self.max - self.min) + MIN_STARS

    def contains(self, rating: float) -> bool:
        """Whether a number is a possible rating."""
        return self.min <= rating <= self.max and rating % STEP == 0

    def choices(self, *, halves: bool) -> tuple[float, ...]:
        """Returns the ratings that a visitor may give, ascending.

        Args:
            halves: whether half points are among them.
        """
        every = range(round(self.min / STEP), round(self.max / STEP) + 1)
        ratings = (number * STEP for number in every)
        return tuple(rating for rating in ratings if halves or rating % 1 == 0)


def read_scale(manifest: dict[str, Any]) -> RatingScale:
    """Returns the scale that the build settings in a release's manifest name; stars by default."""
    features = manifest.get("build", {}).get("settings", {}).get("features") or {}
    return RatingScale(**(features.get("scale") or {}))
