"""Judging documents of metrics in tests, and what tests ask of a decision."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import settings as hypothesis_settings

from recsys import gate
from recsys.gate import Decision, GateSettings
from tests.metrics_maker import (
    GOOD,
    Metrics,
    as_judged,
)

law = hypothesis_settings(deadline=None)  # a loaded machine is no failure
SETTINGS = GateSettings(min_coverage=0.05, max_rmse_rise=0.1, max_ndcg_drop=0.2)
TOO_GOOD = {"rmse_too_good", "ndcg_too_good"}
PATHS = [
    *(("model", name) for name in ("rmse", "mae", "ndcg@10", "recall@10", "recall@20", "mrr")),
    ("model", "coverage"),
    *(
        ("baselines", baseline, name)
        for baseline, metrics in GOOD["baselines"].items()
        for name in metrics or ()
    ),
]
INVALID_NUMBERS = [math.nan, math.inf, -0.1, None, "0.5", True]


def judge(candidate: Metrics, champion: Metrics | None, settings: GateSettings) -> Decision:
    """Judges documents, as they are read from a release."""
    return gate.judge(
        as_judged(candidate), as_judged(champion) if champion is not None else None, settings
    )


def failed(decision: Decision) -> set[str]:
    return {rule.name for rule in decision.rules if not rule.passed}


def rule_names(decision: Decision) -> set[str]:
    return {rule.name for rule in decision.rules}


def served(metrics: Metrics, **more: Any) -> Metrics:
    """Returns metrics with the facts that `judged_metrics` adds."""
    return metrics | {
        "release_id": "aaaaaaaa-aaaaaaaa",
        "serving": {"method": "refit", "interactions": 100, "shift_rmse": 0.2},
        "movie_vectors": {
            "asked": 600,
            "found": {"movie_vectors": {"hit_rate": 0.28}, "popularity": {"hit_rate": 0.14}},
        },
        "contents": {"golden_predictions.json": "1", "movie_vectors": "2", "user_towers": "3"},
        **more,
    }
