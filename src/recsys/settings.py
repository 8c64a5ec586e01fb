"""Typed settings of the domain. Nothing is read from the environment until one is made.

`BuildSettings` change the outcome and are part of a build's fingerprint; all others say where
things are or how patient to be.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys import contract

DEFAULT_SOURCE: Final = "https://files.grouplens.org/datasets/movielens/ml-latest-small.zip"
"""GroupLens' small dataset: 100,836 ratings."""


class _FromEnvironment(BaseSettings):
    # Compose and Kubernetes give unset variables as empty ones; what is refused may be a secret.
    model_config = SettingsConfigDict(env_ignore_empty=True, hide_input_in_errors=True)


class S3Settings(_FromEnvironment):
    """Where the object store is; environment: ``RECSYS_S3_*`` and ``AWS_*`` for the secrets."""

    model_config = SettingsConfigDict(env_prefix="RECSYS_S3_", populate_by_name=True)

    bucket: str = Field(min_length=3)
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: SecretStr | None = Field(default=None, validation_alias="AWS_ACCESS_KEY_ID")
    secret_key: SecretStr | None = Field(default=None, validation_alias="AWS_SECRET_ACCESS_KEY")
    max_attempts: int = Field(default=8, ge=1, description="tries of one request, with backoff")


class PostgresSettings(_FromEnvironment):
    """Where the vector database is; environment: ``RECSYS_PG_DSN``, a libpq URI or string."""

    model_config = SettingsConfigDict(env_prefix="RECSYS_PG_")

    dsn: SecretStr
    connect_timeout: int = Field(default=10, gt=0, description="seconds")


class FetchSettings(_FromEnvironment):
    """How patient a fetch of the dataset is; environment: ``RECSYS_FETCH_*``.

    Proxies are taken from ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY``.
    """

    model_config = SettingsConfigDict(env_prefix="RECSYS_FETCH_")

    attempts: int = Field(
        default=6, ge=1, description="connections in a row that bring nothing new"
    )
    first_wait_s: float = Field(
        default=1.0, ge=0, description="before the second of them; doubled each time, at most 30"
    )
    connect_timeout_s: float = Field(default=10.0, gt=0)
    read_timeout_s: float = Field(
        default=60.0, gt=0, description="without a byte, or with next to none"
    )


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RuleShares(_Plain):
    """The largest share of a file's rows that may break each rule of `recsys.validation.Rule`.

    What breaks one rule now and then is noise; a share beyond these is a change of format.
    """

    encoding: float = Field(default=0.02, ge=0, le=1)
    field_count: float = Field(default=0.02, ge=0, le=1)
    wrong_type: float = Field(default=0.02, ge=0, le=1)
    user_id_range: float = Field(default=0.02, ge=0, le=1)
    movie_id_range: float = Field(default=0.02, ge=0, le=1)
    rating_range: float = Field(default=0.02, ge=0, le=1)
    timestamp_range: float = Field(default=0.02, ge=0, le=1)
    title_length: float = Field(default=0.02, ge=0, le=1)
    unknown_movie: float = Field(default=0.05, ge=0, le=1)
    duplicate: float = Field(default=0.2, ge=0, le=1)


class FeatureSettings(_Plain):
    """What makes interactions and movie vectors what they are."""

    revision: int = contract.FEATURES_REVISION
    holdout_share: float = Field(
        default=0.1, gt=0, lt=0.5, description="share of each user's last interactions"
    )
    vector_dim: Literal[128] = contract.MOVIE_VECTOR_DIM
    max_quarantine_share: float = Field(
        default=0.05, ge=0, le=1, description="more broken rows than this fail the run"
    )
    max_rule_shares: RuleShares = RuleShares()


class TrainerSettings(_Plain):
    """What the trainer is told; its own defaults hold for what is not named here."""

    seed: int = Field(default=20, ge=0)
    overrides: dict[str, Any] = Field(default_factory=dict)


class BuildSettings(_Plain):
    """All settings that change the outcome of a build."""

    features: FeatureSettings = FeatureSettings()
    trainer: TrainerSettings = TrainerSettings()


class DriftLimits(_Plain):
    """What is worth a warning; `recsys.drift` says what each measure is."""

    max_psi: float = Field(
        default=0.25, ge=0, description="population stability index of any distribution"
    )
    max_vanished_users: float = Field(
        default=0.1, ge=0, le=1, description="share of the champion's users"
    )
    max_new_users: float = Field(default=0.5, ge=0, le=1, description="share of users")
    max_vanished_movies: float = Field(
        default=0.05, ge=0, le=1, description="share of the champion's rated movies"
    )
    max_new_movies: float = Field(default=0.3, ge=0, le=1, description="share of rated movies")
    max_row_growth: float = Field(
        default=1.0, ge=0, description="share of the champion's interactions"
    )
    max_row_loss: float = Field(default=0.05, ge=0, le=1, description="likewise")
    max_days_back: float = Field(
        default=0.0, ge=0, description="days by which the last rating is older than the champion's"
    )


class HardDriftLimits(DriftLimits):
    """What fails the run: another dataset, or half of one; a share of 1 never does."""

    max_psi: float = Field(default=4.0, ge=0)
    max_vanished_users: float = Field(default=0.6, ge=0, le=1)
    max_new_users: float = Field(default=1.0, ge=0, le=1)
    max_vanished_movies: float = Field(default=0.6, ge=0, le=1)
    max_new_movies: float = Field(default=1.0, ge=0, le=1)
    max_row_growth: float = Field(default=1000.0, ge=0)
    max_row_loss: float = Field(default=0.6, ge=0, le=1)
    max_days_back: float = Field(default=3650.0, ge=0)


class DriftSettings(_Plain):
    """How far a dataset may move from the champion's.

    These limits change no outcome, only whether there is one, and so are no part of a build.
    """

    warn: DriftLimits = DriftLimits()
    hard: HardDriftLimits = HardDriftLimits()
    accept: bool = Field(default=False, description="bear what is beyond a hard limit, knowingly")


class GateSettings(_Plain):
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


class RetentionSettings(_Plain):
    """What retirement keeps besides the champion and the previous champion."""

    keep_releases: int = Field(default=5, ge=0, description="newest complete releases kept")
    abandon_after_hours: float = Field(
        default=24, gt=0, description="a release still building after this was abandoned"
    )
    forget_after_hours: float = Field(
        default=7 * 24,
        gt=0,
        description="a candidate that nobody promoted or rejected by then was abandoned; longer "
        "than a person may take to approve",
    )
