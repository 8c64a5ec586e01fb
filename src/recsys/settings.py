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


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


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


class TrainerSettings(_Plain):
    """What the trainer is told; its own defaults hold for what is not named here."""

    seed: int = Field(default=20, ge=0)
    overrides: dict[str, Any] = Field(default_factory=dict)


class BuildSettings(_Plain):
    """All settings that change the outcome of a build."""

    features: FeatureSettings = FeatureSettings()
    trainer: TrainerSettings = TrainerSettings()


class GateSettings(_Plain):
    """Limits of the gate; each can be overridden by a Param of the DAG run."""

    min_rmse_gain: float = Field(
        default=0.0,
        description="least share by which the RMSE must lie below that of each movie's mean",
    )
    min_ndcg_ratio: float = Field(
        default=1.0, ge=0, description="least NDCG@10 as a multiple of popularity's"
    )
    min_coverage: float = Field(
        default=0.01, ge=0, le=1, description="least share of movies recommended to anyone"
    )
    max_rmse_rise: float = Field(
        default=0.02, ge=0, description="most by which the RMSE may exceed the champion's (share)"
    )
    max_ndcg_drop: float = Field(
        default=0.2, ge=0, description="most by which NDCG@10 may fall below the champion's (share)"
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
