"""Hyper-parameters: typed, immutable, and validated before training."""

from __future__ import annotations

import difflib
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
    # Strict: the string "3" is not accepted as a number of epochs, nor True as a learning rate.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class RatingConfig(_Section):
    """Hyper-parameters of the model that predicts stars; see `trainer.rating.model`."""

    members: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="number of independent models that are averaged; None: by number of ratings",
    )
    factors: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="latent dimension of each member; None: by number of ratings",
    )
    samples: int | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="samples of a Bayesian factorization whose mean is averaged with the members; "
        "0: members only; None: by number of ratings",
    )
    sample_factors: int = Field(
        default=8, ge=1, le=64, description="latent dimension of each sample"
    )
    epochs: int = Field(
        default=6,
        ge=1,
        le=1000,
        description="largest number of epochs; the learning rate decays to 0 over them",
    )
    patience: int = Field(
        default=2, ge=1, description="epochs without a better validation RMSE before early stopping"
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="ratings per step; None: by number of ratings"
    )
    group_size: int = Field(
        default=262_144,
        ge=1,
        description="ratings of the users whose histories are summed in a step; limits memory",
    )
    learning_rate: float = Field(
        default=0.015, gt=0, le=1, description="initial learning rate; cosine decay"
    )
    factor_penalty: float = Field(
        default=10.0, ge=0, description="L2 penalty of a row of latent factors"
    )
    bias_penalty: float = Field(default=5.0, ge=0, description="L2 penalty of a bias")
    history_penalty: float = Field(
        default=15.0, ge=0, description="L2 penalty of a row of the history's factors"
    )
    recency: float = Field(
        default=1.0,
        ge=0,
        le=10,
        description="loss weight of a user's newest rating relative to the oldest: exp(recency)",
    )
    validation_share: float = Field(
        default=0.02,
        ge=0,
        lt=0.5,
        description="share of the training part that is used for early stopping only",
    )
    export_dim: int = Field(
        default=64, ge=1, le=512, description="largest dimension of the exported vectors; SVD"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="of products; sums are always float32. auto: bfloat16 if there is a GPU",
    )

    def size(self, rows: int) -> tuple[int, int]:
        """Returns members and factors for a number of ratings; see `resolve_size`."""
        members, factors, _ = next(size for limit, *size in _SIZES if rows <= limit)
        return self.members or members, self.factors or factors

    def resolve_size(self, rows: int) -> RatingConfig:
        """Returns this configuration with members, factors and samples chosen if they are None.

        With few ratings, many factors overfit, and averaging many members and samples is cheap;
        with many ratings, more factors pay off, and each member multiplies the training time.
        """
        members, factors = self.size(rows)
        *_, samples = next(size for limit, *size in _SIZES if rows <= limit)
        if self.samples is not None:
            samples = self.samples
        return self.model_copy(update={"members": members, "factors": factors, "samples": samples})

    def scout_config(self) -> RatingConfig | None:
        """Returns the configuration of a scout, a fit with a quarter of the members.

        It determines the number of epochs; None if members are too few for it to be cheaper.
        """
        members = (self.members or 1) // _SCOUT_SHARE
        return self.model_copy(update={"members": members}) if members else None


_SCOUT_SHARE: Final = 4
_SIZES: Final = (
    # largest number of ratings, members, factors, samples
    (500_000, 8, 10, 60),
    (5_000_000, 3, 16, 0),
    (sys.maxsize, 1, 32, 0),
)


class RankingConfig(_Section):
    """Hyper-parameters of the towers; see `trainer.ranking.model`."""

    epochs: int = Field(default=3, ge=1, le=1000)
    batch_size: int | None = Field(
        default=None, ge=1, description="examples per step; None: by number of examples"
    )
    learning_rate: float = Field(
        default=4e-3, gt=0, le=1, description="initial learning rate; cosine decay"
    )
    weight_decay: float = Field(default=4e-3, ge=0, lt=1, description="of AdamW")
    history: int = Field(
        default=30, ge=1, le=500, description="length of the user tower's history, in movies"
    )
    horizon: int = Field(
        default=10, ge=1, le=100, description="prediction horizon: movies rated next, as targets"
    )
    decay: float = Field(
        default=0.1, ge=0, le=10, description="exponential decay of the targets' weights, per movie"
    )
    stride: int = Field(
        default=3, ge=1, le=100, description="interactions of a user per training example"
    )
    moments: int = Field(
        default=1_000_000, ge=1, description="largest number of training examples per epoch"
    )
    liked_stars: float = Field(
        default=4.0, ge=0.5, le=5, description="a movie with at least these stars counts as liked"
    )
    liked_weight: float = Field(
        default=3.0, gt=0, description="weight of a liked movie among the targets"
    )
    full_softmax_movies: int = Field(
        default=20_000, ge=1, description="largest catalog with a full, not a sampled softmax"
    )
    negatives: int = Field(default=4096, ge=1, description="negatives of a sampled softmax")
    transition_weight: float = Field(
        default=0.1,
        ge=0,
        le=10,
        description="standard deviation of the item-to-item transition model's scores, relative "
        "to that of the two-tower model's",
    )
    transition_dim: int = Field(
        default=128, ge=1, le=1024, description="rank of the item-to-item transition model"
    )
    transition_penalty: float = Field(default=4.0, gt=0, le=1e6, description="its L2 penalty")
    transition_movies: int = Field(
        default=8000,
        ge=2,
        le=30_000,
        description="number of most rated movies that it covers; the cost is cubic",
    )
    transition_moments: int = Field(
        default=300_000, ge=1, description="largest number of its training examples"
    )
    ease_weight: float = Field(
        default=0.3,
        ge=0,
        le=10,
        description="standard deviation of EASE's scores, relative to that of the two-tower "
        "model's; 0: without EASE",
    )
    ease_dim: int = Field(default=64, ge=1, le=1024, description="rank of EASE")
    ease_penalty: float = Field(default=200.0, gt=0, le=1e6, description="its L2 penalty")
    ease_movies: int = Field(
        default=8000, ge=2, le=30_000, description="number of most rated movies that it covers"
    )
    ease_users: int = Field(
        default=5000,
        ge=1,
        le=20_000,
        description="largest number of users that it is fitted to; the cost is cubic",
    )


class ServingConfig(_Section):
    """How the served models are fitted to all interactions; see docs/adr/0030."""

    method: Literal["warm_start", "refit"] = Field(
        default="warm_start",
        description="warm_start: the towers start from the evaluated ones, the rating model is "
        "fitted anew; refit: both are",
    )
    ranking_epochs: int = Field(
        default=2, ge=1, le=1000, description="epochs of the towers in a warm start"
    )
    ranking_learning_rate: float = Field(
        default=0.6, gt=0, le=1, description="its initial learning rate, relative to ranking's"
    )


class TrainingConfig(_Section):
    """All hyper-parameters that a build's ``trainer.overrides`` may set."""

    rating: RatingConfig = RatingConfig()
    ranking: RankingConfig = RankingConfig()
    serving: ServingConfig = ServingConfig()

    def warm(self) -> TrainingConfig:
        """Returns the configuration of a fit whose towers start from the evaluated ones."""
        ranking = self.ranking.model_copy(
            update={
                "epochs": self.serving.ranking_epochs,
                "learning_rate": self.ranking.learning_rate * self.serving.ranking_learning_rate,
            }
        )
        return self.model_copy(update={"ranking": ranking})


ENVIRONMENT_PREFIX: Final = "RECSYS_TRAINER__"
_ASSIGNMENT: Final = re.compile(r"([a-z_]+)\.([a-z_]+)=(.*)", re.DOTALL)


def training_config(overrides: Mapping[str, Any]) -> TrainingConfig:
    """Returns the defaults, updated by ``overrides``.

    Args:
        overrides: nested like `TrainingConfig`, e.g. ``{"rating": {"epochs": 12}}``.

    Raises:
        ConfigurationError: a field is unknown or its value is invalid.
    """
    try:
        return TrainingConfig.model_validate(overrides)
    except ValidationError as error:
        raise _invalid_settings("the trainer's overrides", error) from error


def gather_overrides(
    file: Path | None, environ: Mapping[str, str], assignments: Iterable[str]
) -> dict[str, Any]:
    """Merges overrides of a file, the environment and the command line; the last one takes effect.

    Args:
        file: TOML, or JSON if named ``*.json``; nested like `TrainingConfig`.
        environ: variables like ``RECSYS_TRAINER__RATING__EPOCHS=12``; others are ignored.
        assignments: like ``rating.epochs=12``; values are JSON, as those in the environment.

    Raises:
        ConfigurationError: a source has another format.
    """
    merged: dict[str, Any] = dict(_read_file(file)) if file else {}
    variables = {
        name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", "."): (name, value)
        for name, value in sorted(environ.items())
        if name.startswith(ENVIRONMENT_PREFIX)
    }
    sources = [(name, f"{field}={value}") for field, (name, value) in variables.items()]
    for origin, text in [*sources, *(("--set", text) for text in assignments)]:
        match = _ASSIGNMENT.fullmatch(text)
        if not match or match[1] not in TrainingConfig.model_fields:
            raise ConfigurationError(
                f"{origin} does not name a setting",
                found=text,
                expected="e.g. rating.epochs=12",
                hint=_suggestion(text.partition("=")[0].strip()),
            )
        section, field, value = match.groups()
        inner = merged.get(section, {})
        if not isinstance(inner, dict):
            raise ConfigurationError(f"{section} is not a table of settings", found=inner)
        merged[section] = {**inner, field: _value(value)}
    return merged


def environment_overrides(environ: Mapping[str, str]) -> list[str]:
    """Returns the names of the variables that `gather_overrides` reads."""
    return sorted(name for name in environ if name.startswith(ENVIRONMENT_PREFIX))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        # An unquoted string, which the field accepts or rejects.
        return text


def _read_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"the settings in {path} cannot be read",
            found=str(error),
            expected="TOML, e.g. a table [rating] with epochs = 12; or JSON in a file named *.json",
        ) from error
    if not isinstance(found, dict):
        raise ConfigurationError(f"{path} does not contain a table of settings", found=found)
    return found


def build_settings(settings: dict[str, Any]) -> BuildSettings:
    """Validates the settings of a build; raises ConfigurationError."""
    try:
        return BuildSettings.model_validate(settings)
    except ValidationError as error:
        raise _invalid_settings("the build's settings", error) from error


def setting_names() -> list[str]:
    """Returns the names of all settings: ``rating.epochs`` and so on."""
    return [
        f"{section}.{field}"
        for section, found in TrainingConfig.model_fields.items()
        if isinstance(found.annotation, type) and issubclass(found.annotation, BaseModel)
        for field in found.annotation.model_fields
    ]


def _suggestion(name: str) -> str:
    """Returns which setting may be meant; empty if none has a similar name."""
    names = setting_names()
    section, _, field = name.rpartition(".")
    same_field = [one for one in names if one.partition(".")[2] == field]
    close = same_field or difflib.get_close_matches(name, names, n=1)
    if section and same_field:
        close = difflib.get_close_matches(name, same_field, n=1) or same_field
    return f"did you mean {' or '.join(close)}?" if close else ""


def _invalid_settings(what: str, error: ValidationError) -> ConfigurationError:
    invalid = first_invalid_field(error)
    return ConfigurationError(
        f"{what} are invalid: {invalid}",
        found=invalid.value,
        hint=(
            _suggestion(invalid.name) or f"remove {invalid.name}, or correct its name"
            if invalid.is_unknown
            else f"correct {invalid.name}"
        ),
    )
