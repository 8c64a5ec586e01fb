"""Limits of the gate. Those in stars are mapped to the scale of the dataset."""

from __future__ import annotations

from pydantic import Field

from recsys.contract import FrozenModel


class GateSettings(FrozenModel):
    """Limits of the gate. A Param of the DAG run overrides each."""

    max_rmse_over_bias: float = Field(
        default=0.0,
        description="stars; the RMSE minus that of user and movie biases, upper end of the "
        "confidence interval, must be below this",
    )
    min_ndcg_over_popularity: float = Field(
        default=0.0,
        description="NDCG@10 minus that of the most popular movies, lower end of the confidence "
        "interval, must be above this",
    )
    min_coverage_over_popularity: float = Field(
        default=1.5,
        ge=0,
        description="minimum number of movies that are recommended to any user, as a multiple of "
        "that of recommending the most popular movies to the same users; where these cover a share "
        "s of all movies, the excess over 1 counts only (1 - s)",
    )
    min_coverage: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="minimum share of movies that are recommended, whatever popularity's; 0: none",
    )
    min_rmse_share_of_bias: float = Field(
        default=0.75, ge=0, le=1, description="an RMSE below this share of the biases' is a leak"
    )
    max_ndcg: float = Field(
        default=0.6, ge=0, le=1, description="an NDCG@10 above this is a leak of the holdout"
    )
    min_serving_shift: float = Field(
        default=0.001,
        ge=0,
        description="minimum difference in stars (RMS) of served and evaluated predictions on the "
        "holdout; only the served model may have been trained on it",
    )
    max_serving_shift: float = Field(
        default=0.5, ge=0, description="maximum of the same difference"
    )
    max_served_rmse_rise: float = Field(
        default=0.0,
        ge=0,
        description="maximum rise of the served model's RMSE on the holdout, which it was fitted "
        "to, over the evaluated model's (share)",
    )
    min_golden_share: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="minimum share of the trainer's golden recommendations that the served tables "
        "recommend through their index",
    )
    min_evaluated_share: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="minimum share of the evaluated towers' recommendations that the served towers "
        "recommend to the same user",
    )
    min_share_over_others: float = Field(
        default=2.5,
        ge=0,
        description="minimum of the same share, as a multiple of the share that they recommend of "
        "another user's list",
    )
    min_distinct_vectors: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="minimum number of different vectors in a served table, as a share of its rows",
    )
    max_rmse_rise: float = Field(
        default=0.01, ge=0, description="maximum rise of the RMSE over the champion's (share)"
    )
    max_ndcg_drop: float = Field(
        default=0.2, ge=0, description="maximum drop of NDCG@10 below the champion's (share)"
    )
    max_sure_ndcg_drop: float = Field(
        default=0.05,
        ge=0,
        description="maximum drop of NDCG@10 below the champion's if the whole confidence interval "
        "is below it (share)",
    )
    max_changed_pairs: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="maximum share of the champion's pairs of a user and a movie, both still in "
        "the dataset, that are missing; above it ids mean others than they did, and candidate and "
        "champion are compared by their advantage over baselines, each on its own holdout",
    )
    memory_releases: int = Field(
        default=20,
        ge=0,
        description="number of earlier champions that are remembered for the limits on the sum of "
        "losses; 0 compares with the champion only",
    )
    max_summed_rmse_rise: float = Field(
        default=0.02,
        ge=0,
        description="maximum rise of the RMSE since the best remembered release, summed over the "
        "promotions since (share)",
    )
    max_sure_summed_rmse_rise: float = Field(
        default=0.01,
        ge=0,
        description="maximum of the same sum at the lower end of its confidence interval (share)",
    )
    max_summed_ndcg_drop: float = Field(
        default=0.25,
        ge=0,
        description="maximum drop of NDCG@10 since the best remembered release, summed over the "
        "promotions since (share)",
    )
    max_sure_summed_ndcg_drop: float = Field(
        default=0.1,
        ge=0,
        description="maximum of the same sum at the lower end of its confidence interval (share)",
    )
    max_vanished_users: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="maximum share of the users of the champion's dataset that are missing",
    )
    max_vanished_movies: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="maximum share of the rated movies of the champion's dataset that are missing",
    )
    max_vanished_ratings: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="maximum share of the champion's pairs of a user and a movie, both still in "
        "the dataset, that are missing; above max_changed_pairs ids changed, which is no loss",
    )
    max_slice_rmse_rise: float = Field(
        default=0.05,
        ge=0,
        description="maximum rise of the RMSE in a slice over the champion's or the biases' "
        "(share)",
    )
    max_slice_ndcg_drop: float = Field(
        default=0.25,
        ge=0,
        description="maximum drop of NDCG@10 in a slice below the champion's or popularity's "
        "(share)",
    )
    min_vector_hit_share: float = Field(
        default=0.5,
        ge=0,
        description="minimum hit rate of the movie vectors, as a share of popularity's",
    )
    min_slice_users: int = Field(
        default=100, ge=1, description="slices with fewer users are shown but not evaluated"
    )
    slice_error_rate: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="probability that any slice of an equally good candidate fails by chance",
    )
    min_time_users: int = Field(
        default=100,
        ge=1,
        description="with fewer users that had rated before its moment, the time holdout is shown "
        "but not binding",
    )
    min_slice_rows: int = Field(
        default=1000, ge=1, description="slices with fewer rows are shown but not evaluated"
    )
