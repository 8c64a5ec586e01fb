"""Measuring a candidate: rating error, ranking metrics, baselines, slices, confidence.

Only numpy and polars are imported, because this package is part of the trainer's image.
"""

from recsys.evaluation.baselines import (
    Training,
    knn_refusal,
    predicted_stars,
    rank_by_neighbours,
    rank_by_popularity,
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
    "knn_refusal",
    "predicted_stars",
    "rank_by_neighbours",
    "rank_by_popularity",
    "ranking_metrics",
    "rating_error",
]
