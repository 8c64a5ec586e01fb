"""Measuring a candidate: rating error, ranking metrics, baselines, slices, confidence.

Only numpy and polars are imported, because this package is part of the trainer's image.
"""

from recsys.evaluation.baselines import (
    Training,
    predicted_stars,
    rank_by_neighbors,
    rank_by_popularity,
    reason_to_skip_knn,
)
from recsys.evaluation.champion import ChampionAnswers
from recsys.evaluation.evaluator import evaluate
from recsys.evaluation.metrics import ranking_metrics, rating_error
from recsys.evaluation.tables import Holdout

__all__ = [
    "ChampionAnswers",
    "Holdout",
    "Training",
    "evaluate",
    "predicted_stars",
    "rank_by_neighbors",
    "rank_by_popularity",
    "ranking_metrics",
    "rating_error",
    "reason_to_skip_knn",
]
