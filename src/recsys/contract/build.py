"""The build of a release: dataset, trainer and settings.

Settings that change the outcome are part of a build's fingerprint. They are defined here, because
pipeline and trainer both read them. All other settings are defined next to the code that uses them.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Final, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from recsys.contract.ids import NARROW, IdBits
from recsys.contract.keys import (
    Digest,
    FrozenModel,
    Md5,
    Sha256,
    features_key,
    features_prefix,
)
from recsys.contract.scale import STARS, RatingScale
from recsys.contract.tables import MOVIE_VECTOR_DIM

FEATURES_REVISION: Final = 4
"""Raise it when the code makes other interactions, movies, quarantine or movie vectors from the
same dataset and settings; ``tests/unit/features/test_features_revision.py`` checks it."""


class Build(FrozenModel):
    """The inputs of a release; the same build always gives the same release id.

    Args:
        dataset_md5: md5 of the dataset's zip.
        trainer_digest: digest of the trainer image (or of the trainer's sources on one machine).
        settings: the settings that change the outcome, as plain JSON values.
    """

    dataset_md5: Md5
    trainer_digest: Digest
    settings: dict[str, Any]

    @field_validator("settings")
    @classmethod
    def _is_json(cls, settings: dict[str, Any]) -> dict[str, Any]:
        # By default NaN and infinity become null, which gives the fingerprint of another build.
        try:
            json.dumps(settings, allow_nan=False)
        except TypeError as error:
            raise ValueError(str(error)) from error
        return settings

    @property
    def fingerprint(self) -> str:
        """sha256 (64 hex digits) of the build as canonical JSON."""
        canonical = json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False
        )
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def release_id(self) -> str:
        """``<first 8 of dataset md5>-<first 8 of fingerprint>``."""
        return f"{self.dataset_md5[:8]}-{self.fingerprint[:8]}"

    @property
    def features(self) -> FeatureSettings:
        """The feature settings; defaults for those that the build does not set."""
        return FeatureSettings.model_validate(self.settings.get("features") or {})

    @property
    def features_prefix(self) -> str:
        """Prefix of this build's features; builds share it if their features are equal."""
        return self.features.prefix(self.dataset_md5)

    def features_key(self, name: str) -> str:
        """S3 key of a file of this build's features."""
        return features_key(self.features_prefix, name)


class RuleShares(FrozenModel):
    """Largest share of invalid rows of a file tolerated, by rule (`recsys.features.Rule`).

    A few invalid rows are noise; a larger share means a change of format.
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


_Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f/\\]+$")]


class DatasetColumns(FrozenModel):
    """Names of files and columns of a CSV dataset that are not found by themselves."""

    ratings_file: _Name | None = Field(default=None, description="file of the ratings")
    user: _Name | None = Field(default=None, description="its column of users")
    item: _Name | None = Field(default=None, description="its column of items")
    rating: _Name | None = Field(default=None, description="its column of ratings")
    timestamp: _Name | None = Field(default=None, description="its column of seconds since 1970")
    items_file: _Name | None = Field(default=None, description="file of the items")
    item_id: _Name | None = Field(
        default=None, description="its column of ids; by default the name in `item`"
    )
    title: _Name | None = Field(default=None, description="its column of titles")
    categories: _Name | None = Field(
        default=None, description="its column of categories, separated by |"
    )

    @property
    def of_ratings(self) -> dict[str, str]:
        """The names in the file of ratings, by the names that MovieLens gives the columns."""
        return _given(
            userId=self.user, movieId=self.item, rating=self.rating, timestamp=self.timestamp
        )

    @property
    def of_items(self) -> dict[str, str]:
        """The names in the file of items, by the names that MovieLens gives the columns."""
        return _given(movieId=self.item_id or self.item, title=self.title, genres=self.categories)


DETECTED_COLUMNS: Final = DatasetColumns()
"""No name is given: all are found by themselves."""


def _given(**names: str | None) -> dict[str, str]:
    return {column: name for column, name in names.items() if name is not None}


class FeatureSettings(FrozenModel):
    """Settings that determine interactions and movie vectors."""

    revision: int = FEATURES_REVISION
    holdout_share: float = Field(
        default=0.1, gt=0, lt=0.5, description="share of each user's last interactions"
    )
    time_holdout_share: float = Field(
        default=0.05,
        ge=0,
        lt=0.5,
        description="largest share of the interactions in the time holdout, whose moment is the "
        "start of a day; 0: no time holdout",
    )
    vector_dim: Literal[128] = MOVIE_VECTOR_DIM
    max_quarantine_share: float = Field(
        default=0.05, ge=0, le=1, description="the run fails if more rows are invalid"
    )
    max_rule_shares: RuleShares = RuleShares()
    scale: RatingScale = STARS
    erased: Sha256 | None = Field(
        default=None,
        description="digest of the list of erased users, whose rows are left out; every run sets "
        "it to that of the ledger",
    )
    columns: DatasetColumns = DETECTED_COLUMNS
    id_bits: IdBits = Field(
        default=NARROW,
        description="64 for a dataset with ids above 2147483647, of users or of movies; its tables "
        "then have columns of type bigint",
    )

    @model_serializer(mode="wrap")
    def _leave_out_absent(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Without these the settings, and with them the release ids, are those of before.
        dumped: dict[str, Any] = dump(self)
        if self.scale.is_stars:
            dumped.pop("scale", None)
        if self.erased is None:
            dumped.pop("erased", None)
        if self.columns == DETECTED_COLUMNS:
            dumped.pop("columns", None)
        if self.id_bits == NARROW:
            dumped.pop("id_bits", None)
        return dumped

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the sha256 of the settings that change the features' content.

        Tolerances of invalid rows only decide whether a run fails, so they are left out.
        """
        content = self.model_dump(
            mode="json",
            include=set(_CONTENT if self.revision >= _WITH_TIME_HOLDOUT else _OLDER_CONTENT),
        )
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def prefix(self, dataset_md5: str) -> str:
        """Prefix of the features of a dataset that are made with these settings."""
        return features_prefix(dataset_md5, self.fingerprint)


_WITH_TIME_HOLDOUT: Final = 4
"""The first revision of features with a time holdout."""
_OLDER_CONTENT: Final = (
    "revision",
    "holdout_share",
    "vector_dim",
    "erased",
    "columns",
    "scale",
    "id_bits",
)
_CONTENT: Final = (*_OLDER_CONTENT, "time_holdout_share")


class TrainerSettings(FrozenModel):
    """Settings for the trainer; it uses its own defaults for those that are not overridden."""

    seed: int = Field(default=20, ge=0)
    overrides: dict[str, Any] = Field(default_factory=dict)


class BuildSettings(FrozenModel):
    """All settings that change the outcome of a build."""

    features: FeatureSettings = FeatureSettings()
    trainer: TrainerSettings = TrainerSettings()
