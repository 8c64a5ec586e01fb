"""Limits of the gate."""

from __future__ import annotations

from pydantic import Field

from recsys.contract import FrozenModel


class GateSettings(FrozenModel):
    """Limits of the gate; each can be overridden by a Param of the DAG run."""

    max_rmse_over_bias: float = Field(
        default=0.0,
        description="stars: RMSE less that of user and movie biases stays below this with "
        "confidence",
    )
    min_ndcg_over_popularity: float = Field(
        default=0.0,
        description="NDCG@10 less that of the most popular movies stays above this with confidence",
    )
    min_coverage: float = Field(
        default=0.01, ge=0, le=1, description="least share of movies recommended to anyone"
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
        description="stars by which served predictions of the holdout must differ from evaluated "
        "ones: the served model knows it, the evaluated one must not",
    )
    max_serving_shift: float = Field(
        default=0.6, ge=0, description="stars (RMS) by which they may differ"
    )
    max_rmse_rise: float = Field(
        default=0.01, ge=0, description="most by which the RMSE may exceed the champion's (share)"
    )
    max_ndcg_drop: float = Field(
        default=0.2, ge=0, description="most by which NDCG@10 may fall below the champion's (share)"
    )
    max_sure_ndcg_drop: float = Field(
        default=0.05,
        ge=0,
        description="the same where the confidence interval is sure of it (share)",
    )
    max_slice_rmse_rise: float = Field(
        default=0.05,
        ge=0,
        description="rise of the RMSE in a slice over the champion's or the biases' (share)",
    )
    max_slice_ndcg_drop: float = Field(
        default=0.25,
        ge=0,
        description="drop of NDCG@10 in a slice, as a share of the reference's over all users",
    )
    min_vector_hit_share: float = Field(
        default=0.5,
        ge=0,
        description="least hit rate of the movie vectors, as a share of popularity's",
    )
    min_slice_users: int = Field(
        default=100, ge=1, description="slices of fewer users are shown, not judged"
    )
    min_slice_rows: int = Field(
        default=1000, ge=1, description="slices of fewer rows are shown, not judged"
    )
