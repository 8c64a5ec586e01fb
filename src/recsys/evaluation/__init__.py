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
from recsys.evaluation.forward import (
    ForwardAnswers,
    ForwardMetrics,
    compare_forward,
    measure_forward,
)
from recsys.evaluation.holdouts import (
    MIN_EARLIER,
    VISIT_GAP_S,
    TimeHoldout,
    ranked_users,
    time_holdout_rows,
)
from recsys.evaluation.ids import (
    HASHES,
    ID_TYPES,
    id_type,
    pairs_ascend,
    place_of,
    type_of_ids,
    with_id_type,
)
from recsys.evaluation.metrics import ranking_metrics, rating_error
from recsys.evaluation.models import (
    HOLDOUT,
    TRAIN,
    EvaluatedRelease,
    Evaluation,
    Predict,
    evaluate_models,
    part,
)
from recsys.evaluation.parquet_bounds import check_parquet
from recsys.evaluation.sample import MAX_RANKED_USERS, ranked_sample
from recsys.evaluation.tables import Holdout, join_in_ranges, user_ranges
from recsys.evaluation.towers import BIAS, Towers, recommend

__all__ = [
    "BIAS",
    "HASHES",
    "HOLDOUT",
    "ID_TYPES",
    "MAX_RANKED_USERS",
    "MIN_EARLIER",
    "TRAIN",
    "VISIT_GAP_S",
    "ChampionAnswers",
    "EvaluatedRelease",
    "Evaluation",
    "ForwardAnswers",
    "ForwardMetrics",
    "Holdout",
    "Predict",
    "TimeHoldout",
    "Towers",
    "Training",
    "check_parquet",
    "compare_forward",
    "evaluate",
    "evaluate_models",
    "id_type",
    "join_in_ranges",
    "measure_forward",
    "pairs_ascend",
    "part",
    "place_of",
    "predicted_stars",
    "rank_by_neighbors",
    "rank_by_popularity",
    "ranked_sample",
    "ranked_users",
    "ranking_metrics",
    "rating_error",
    "reason_to_skip_knn",
    "recommend",
    "time_holdout_rows",
    "type_of_ids",
    "user_ranges",
    "with_id_type",
]
