"""What can be tuned: typed, frozen, refused before training where it makes no sense."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recsys.contract import BuildSettings
from recsys.errors import ConfigurationError, first_invalid_field


class _Section(BaseModel):
    # Strict: the text "3" is no number of epochs, and True is no learning rate.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class RatingConfig(_Section):
    """The model that predicts stars; see `trainer.rating_model`."""

    members: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="independent models that are averaged; None: by the number of ratings",
    )
    factors: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="dimension of each member; None: by the number of ratings",
    )
    epochs: int = Field(
        default=6, ge=1, le=1000, description="at most; the learning rate falls to 0 over them"
    )
    patience: int = Field(
        default=2, ge=1, description="epochs without a better validation RMSE that end the training"
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="ratings a step; None: by the number of ratings"
    )
    group_size: int = Field(
        default=262_144,
        ge=1,
        description="ratings of the users whose histories are summed in one step; bounds memory",
    )
    learning_rate: float = Field(default=0.015, gt=0, le=1, description="at the start; cosine")
    factor_penalty: float = Field(default=10.0, ge=0, description="for a row's squared norm")
    bias_penalty: float = Field(default=5.0, ge=0)
    history_penalty: float = Field(default=15.0, ge=0)
    recency: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="a user's newest rating weighs exp(recency) times as much as the oldest",
    )
    validation_share: float = Field(
        default=0.02,
        ge=0,
        lt=0.5,
        description="share of the training part that decides when to stop, and nothing else",
    )
    export_dim: int = Field(
        default=64, ge=1, le=512, description="dimension that the exported tables are cut to"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="of products; sums are float32 always. auto: bfloat16 where there is a GPU",
    )

    def size(self, rows: int) -> tuple[int, int]:
        """Members and factors for so many ratings, chosen where they were left open.

        Few ratings are overfitted by wide factors, and averaging many narrow members is cheap
        there; many ratings feed wide ones, and each member costs its full share of the time.
        """
        members, factors = next(size for limit, *size in _SIZES if rows <= limit)
        return self.members or members, self.factors or factors

    def sized(self, rows: int) -> RatingConfig:
        """The same with nothing left open of `size`."""
        members, factors = self.size(rows)
        return self.model_copy(update={"members": members, "factors": factors})

    def scout(self) -> RatingConfig | None:
        """Few members, enough to find out after how many epochs to stop; None if no cheaper."""
        members = (self.members or 1) // _SCOUT_SHARE
        return self.model_copy(update={"members": members}) if members else None


_SCOUT_SHARE: Final = 8
_SIZES: Final = (
    # ratings at most, members, factors
    (500_000, 16, 10),
    (5_000_000, 3, 16),
    (sys.maxsize, 1, 32),
)


class RankingConfig(_Section):
    """The towers; see `trainer.ranking_model`."""

    epochs: int = Field(default=4, ge=1, le=1000)
    batch_size: int | None = Field(
        default=None, ge=1, description="moments a step; None: by the number of moments"
    )
    learning_rate: float = Field(default=4e-3, gt=0, le=1, description="at the start; cosine")
    weight_decay: float = Field(default=4e-3, ge=0, lt=1)
    history: int = Field(default=30, ge=1, le=500, description="newest movies that make a user")
    horizon: int = Field(default=10, ge=1, le=100, description="next movies to be foretold")
    decay: float = Field(
        default=0.1, ge=0, le=10, description="how fast the weight of the next movies falls"
    )
    stride: int = Field(
        default=3, ge=1, le=100, description="a moment of training for every so many interactions"
    )
    moments: int = Field(
        default=1_000_000, ge=1, description="at most so many an epoch; bounds its time"
    )
    liked_stars: float = Field(default=4.0, ge=0.5, le=5)
    liked_weight: float = Field(
        default=3.0, gt=0, description="weight of a liked movie among the next ones"
    )
    full_softmax_movies: int = Field(
        default=20_000, ge=1, description="above this many movies the softmax is sampled"
    )
    negatives: int = Field(default=4096, ge=1, description="movies drawn for a sampled softmax")
    transition_weight: float = Field(
        default=0.2,
        ge=0,
        le=10,
        description="spread of the transitions' scores by that of the neural ones",
    )
    transition_dim: int = Field(default=128, ge=1, le=1024)
    transition_penalty: float = Field(default=4.0, gt=0, le=1e6)
    transition_movies: int = Field(
        default=8000, ge=2, le=30_000, description="the best-known ones; the cost grows by its cube"
    )
    transition_moments: int = Field(default=300_000, ge=1, description="at most so many")


class TrainingConfig(_Section):
    """All that a build's ``trainer.overrides`` may change."""

    rating: RatingConfig = RatingConfig()
    ranking: RankingConfig = RankingConfig()


ENVIRONMENT_PREFIX: Final = "RECSYS_TRAINER__"
_ASSIGNMENT: Final = re.compile(r"([a-z_]+)\.([a-z_]+)=(.*)", re.DOTALL)


def training_config(overrides: Mapping[str, Any]) -> TrainingConfig:
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


def gather_overrides(
    file: Path | None, environ: Mapping[str, str], assignments: Iterable[str]
) -> dict[str, Any]:
    """Overrides from a file, the environment and the command line; what comes later wins.

    Args:
        file: TOML (or JSON if so named), nested like `TrainingConfig`.
        environ: variables like ``RECSYS_TRAINER__RATING__EPOCHS=12``; others are not looked at.
        assignments: like ``rating.epochs=12``. Values are JSON here and in the environment.

    Raises:
        ConfigurationError: a source is not of its form.
    """
    merged: dict[str, Any] = dict(_read_file(file)) if file else {}
    named = {
        name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", "."): (name, value)
        for name, value in sorted(environ.items())
        if name.startswith(ENVIRONMENT_PREFIX)
    }
    given = [(name, f"{field}={value}") for field, (name, value) in named.items()]
    for origin, text in [*given, *(("--set", text) for text in assignments)]:
        found = _ASSIGNMENT.fullmatch(text)
        if not found:
            raise ConfigurationError(
                f"{origin} names no setting", found=text, expected="e.g. rating.epochs=12"
            )
        section, field, value = found.groups()
        inner = merged.get(section, {})
        if not isinstance(inner, dict):
            raise ConfigurationError(f"{section} is no table of settings", found=inner)
        merged[section] = {**inner, field: _value(value)}
    return merged


def environment_overrides(environ: Mapping[str, str]) -> list[str]:
    """Names of the variables that `gather_overrides` would read."""
    return sorted(name for name in environ if name.startswith(ENVIRONMENT_PREFIX))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        # A word, which the field takes or refuses.
        return text


def _read_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"the settings in {path} cannot be read",
            found=str(error),
            expected="TOML, e.g. [rating] and below it epochs = 12; or JSON in a file named *.json",
        ) from error
    if not isinstance(found, dict):
        raise ConfigurationError(f"{path} holds no table of settings", found=found)
    return found


def build_settings(settings: dict[str, Any]) -> BuildSettings:
    """The settings of a build, checked; raises ConfigurationError."""
    try:
        return BuildSettings.model_validate(settings)
    except ValidationError as error:
        raise _refusal("the build's settings", error) from error


def _refusal(what: str, error: ValidationError) -> ConfigurationError:
    invalid = first_invalid_field(error)
    return ConfigurationError(
        f"{what} are invalid: {invalid}",
        found=invalid.value,
        hint=(
            f"remove {invalid.name}, or correct its name"
            if invalid.is_unknown
            else f"correct {invalid.name}"
        ),
    )
