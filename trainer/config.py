"""What can be tuned: typed, frozen, refused before training where it makes no sense."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recsys.errors import ConfigurationError
from recsys.settings import BuildSettings


class _Section(BaseModel):
    # Strict: the text "3" is no number of epochs, and True is no learning rate.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class RatingConfig(_Section):
    """The model that predicts stars; see `trainer.rating_model`."""

    members: int = Field(default=4, ge=1, le=64, description="independent models that are averaged")
    factors: int = Field(default=10, ge=1, le=256, description="dimension of each member")
    epochs: int = Field(default=8, ge=1, le=1000)
    batch_size: int | None = Field(
        default=None, ge=1, description="ratings a step; None: by the number of ratings"
    )
    group_size: int = Field(
        default=131_072,
        ge=1,
        description="ratings of the users whose histories are summed in one step; bounds memory",
    )
    learning_rate: float = Field(default=0.015, gt=0, le=1)
    factor_penalty: float = Field(default=10.0, ge=0, description="for a row's squared norm")
    bias_penalty: float = Field(default=5.0, ge=0)
    history_penalty: float = Field(default=15.0, ge=0)
    validation_share: float = Field(
        default=0.02,
        ge=0,
        lt=0.5,
        description="share of the training part that only the log's validation RMSE sees",
    )
    export_dim: int = Field(
        default=64, ge=1, le=512, description="dimension that the exported tables are cut to"
    )


class RankingConfig(_Section):
    """The towers; see `trainer.ranking_model`."""

    epochs: int = Field(default=3, ge=1, le=1000)
    batch_size: int = Field(default=384, ge=1)
    learning_rate: float = Field(default=4e-3, gt=0, le=1)
    weight_decay: float = Field(default=4e-3, ge=0, lt=1)
    history: int = Field(default=30, ge=1, le=500, description="newest movies that make a user")
    horizon: int = Field(default=10, ge=1, le=100, description="next movies to be foretold")
    stride: int = Field(
        default=3, ge=1, le=100, description="a moment of training for every so many interactions"
    )
    liked_stars: float = Field(default=4.0, ge=0.5, le=5)
    liked_weight: float = Field(
        default=3.0, gt=0, description="weight of a liked movie among the next ones"
    )
    full_softmax_movies: int = Field(
        default=20_000, ge=1, description="above this many movies the softmax is sampled"
    )
    negatives: int = Field(default=4096, ge=1, description="movies drawn for a sampled softmax")


class TrainingConfig(_Section):
    """All that a build's ``trainer.overrides`` may change."""

    rating: RatingConfig = RatingConfig()
    ranking: RankingConfig = RankingConfig()


def training_config(overrides: dict[str, Any]) -> TrainingConfig:
    """The defaults with ``overrides`` in their place.

    Args:
        overrides: nested like `TrainingConfig`, e.g. ``{"rating": {"epochs": 12}}``.

    Raises:
        ConfigurationError: a field is unknown or its value makes no sense.
    """
    try:
        return TrainingConfig.model_validate(overrides)
    except ValidationError as error:
        raise _refusal("the trainer's overrides", error) from error


def build_settings(settings: dict[str, Any]) -> BuildSettings:
    """The settings of a build, checked; raises ConfigurationError."""
    try:
        return BuildSettings.model_validate(settings)
    except ValidationError as error:
        raise _refusal("the build's settings", error) from error


def _refusal(what: str, error: ValidationError) -> ConfigurationError:
    first = error.errors(include_url=False, include_input=True)[0]
    field = ".".join(map(str, first["loc"]))
    known = "extra" not in first["type"]
    return ConfigurationError(
        f"{what} make no sense: {field}: {first['msg']}",
        found=first["input"],
        hint=f"correct {field}" if known else f"remove {field}, or correct its name",
    )
