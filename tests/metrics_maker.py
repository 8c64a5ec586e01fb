"""Metrics that the gate accepts, as JSON documents, and functions that make them worse."""

from __future__ import annotations

import copy
from typing import Any

from recsys.evaluation import evaluate
from recsys.gate import JudgedMetrics

Metrics = dict[str, Any]

GOOD: Metrics = {
    "model": {
        "rmse": 0.85,
        "mae": 0.65,
        "ndcg@10": 0.15,
        "recall@10": 0.09,
        "recall@20": 0.15,
        "mrr": 0.3,
        "coverage": 0.2,
        "novelty": 9.0,
        "popularity_bias": 0.3,
    },
    "calibration": [
        {"stars": 1.0, "rows": 300, "mean_prediction": 2.6},
        {"stars": 3.0, "rows": 3000, "mean_prediction": 3.3},
        {"stars": 5.0, "rows": 1500, "mean_prediction": 4.1},
    ],
    "baselines": {
        "global_mean": {"rmse": 1.07, "mae": 0.84},
        "movie_mean": {"rmse": 1.0, "mae": 0.79},
        "bias": {"rmse": 0.9, "mae": 0.69},
        "popularity": {
            "ndcg@10": 0.1,
            "recall@10": 0.04,
            "recall@20": 0.07,
            "mrr": 0.2,
            "coverage": 0.01,
        },
        "item_knn": None,
    },
    "skipped": {"item_knn": "it would take too long"},
    "holdout": {"rows": 9818, "users": 610},
    "slices": {
        "user_activity": {
            name: {
                "rows": 4909,
                "users": 305,
                "rmse": 0.86,
                "mae": 0.66,
                "ndcg@10": 0.14,
                "recall@10": 0.08,
                "baselines": {"bias": {"rmse": 0.9}, "popularity": {"ndcg@10": 0.1}},
            }
            for name in ("few", "many")
        },
        "genre": {},
    },
    "confidence": {
        "level": 0.95,
        "resamples": 1000,
        "model": {"rmse": [0.83, 0.87], "ndcg@10": [0.14, 0.16]},
        "differences": {"rmse - bias": [-0.06, -0.04], "ndcg@10 - popularity": [0.03, 0.07]},
    },
    "champion": None,
}
"""A candidate that the gate accepts with its default limits."""

CHAMPION: Metrics = {
    "release_id": "0123abcd-0123abcd",
    "rows": 9000,
    "users": 600,
    "rmse": 0.86,
    "mae": 0.66,
    "ndcg@10": 0.145,
    "recall@10": 0.085,
    "recall@20": 0.14,
    "mrr": 0.29,
    "coverage": 0.19,
    "candidate": {
        "rmse": 0.85,
        "mae": 0.65,
        "ndcg@10": 0.15,
        "recall@10": 0.09,
        "recall@20": 0.15,
        "mrr": 0.3,
        "coverage": 0.2,
    },
}
"""Metrics of a champion that was evaluated on the candidate's holdout."""


def evaluate_to_document(**arguments: Any) -> Metrics:
    """Returns the result of `recsys.evaluation.evaluate` as the trainer stores it."""
    return evaluate(**arguments).model_dump(mode="json")


def as_judged(metrics: Metrics) -> JudgedMetrics:
    """Parses a document as the gate's input."""
    return JudgedMetrics.model_validate(metrics)


def inner(metrics: Metrics, *path: str) -> Any:
    """Returns the value at a path of nested objects; None if there is none."""
    value: Any = metrics
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def put(metrics: Metrics, path: tuple[str, ...], value: object) -> Metrics:
    """Returns a copy with another value at a path; None removes the value."""
    changed = copy.deepcopy(metrics)
    parent = inner(changed, *path[:-1]) if path[:-1] else changed
    if value is None:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return changed


def with_rmse(metrics: Metrics, rmse: float) -> Metrics:
    """Returns a copy with another RMSE and a consistent confidence interval."""
    return _moved(metrics, "rmse", "rmse - bias", rmse)


def with_ndcg(metrics: Metrics, ndcg: float) -> Metrics:
    """Returns a copy with another NDCG@10 and a consistent confidence interval."""
    return _moved(metrics, "ndcg@10", "ndcg@10 - popularity", ndcg)


def _moved(metrics: Metrics, name: str, difference: str, value: float) -> Metrics:
    changed = put(metrics, ("model", name), value)
    by = value - metrics["model"][name]
    low, high = metrics["confidence"]["differences"][difference]
    changed["confidence"]["differences"][difference] = [low + by, high + by]
    return changed


def scored(metrics: Metrics, **champion: object) -> Metrics:
    """Returns a copy whose champion was evaluated on the same holdout."""
    changed = copy.deepcopy(metrics)
    changed["champion"] = copy.deepcopy(CHAMPION) | champion
    changed["confidence"]["differences"] |= {
        "rmse - champion": [-0.03, 0.01],
        "ndcg@10 - champion": [-0.02, 0.03],
    }
    return changed
