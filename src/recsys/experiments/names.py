"""Names of models, splits and objectives; imports no library, for the help of the command line."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

_RANDOM: Final = (
    "random split: the training part has ratings of the same sitting as a held-out one, before and "
    "after it, so the ranking metrics show how well a sitting is completed. That favors item_knn, "
    "and no recommendation is made then; compare rankings on temporal-10 or last-visit."
)


class ModelName(StrEnum):
    """Models that can be compared."""

    TRAINER = "trainer"
    GLOBAL_MEAN = "global_mean"
    MOVIE_MEAN = "movie_mean"
    BIAS = "bias"
    POPULARITY = "popularity"
    ITEM_KNN = "item_knn"


class SplitName(StrEnum):
    """How the holdout is chosen."""

    RANDOM_10 = "random-10"
    TEMPORAL_10 = "temporal-10"
    TEMPORAL_20 = "temporal-20"
    LEAVE_LAST_OUT = "leave-last-out"
    LAST_VISIT = "last-visit"
    CV5 = "cv5"

    @property
    def remark(self) -> str:
        """What to know about the ranking metrics of the split; empty if there is nothing."""
        return _RANDOM if self in (SplitName.RANDOM_10, SplitName.CV5) else ""


class Objective(StrEnum):
    """The metric to improve; only the settings of the model that it measures are searched."""

    RMSE = "rmse"
    NDCG = "ndcg@10"


class Part(StrEnum):
    """A model of a release that can be trained alone; also its section of the settings."""

    RATING = "rating"
    RANKING = "ranking"

    @property
    def other(self) -> Part:
        """The part that is not wanted."""
        return Part.RANKING if self is Part.RATING else Part.RATING
