"""Names of models, splits and objectives; imports no library, for the help of the command line."""

from __future__ import annotations

from enum import StrEnum


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
    CV5 = "cv5"


class Objective(StrEnum):
    """The metric to improve; only the settings of the model that it measures are searched."""

    RMSE = "rmse"
    NDCG = "ndcg@10"
