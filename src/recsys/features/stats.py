"""Statistics of a dataset's features, stored next to them as ``stats.json``."""

from __future__ import annotations

import logging

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recsys import contract
from recsys.contract import FeatureSettings
from recsys.errors import first_invalid_field
from recsys.features.rules import TOLERATED_RULES, Rule
from recsys.object_store import ObjectStore

log = logging.getLogger(__name__)


class FileStats(BaseModel):
    """Counts of one CSV file; ``rows`` = valid rows + the sum of ``quarantine``."""

    model_config = ConfigDict(frozen=True)

    rows: int = Field(ge=0, description="rows read, without header and blank lines")
    quarantine: dict[Rule, int] = Field(description="rejected rows by the rule that they violate")

    @property
    def invalid(self) -> int:
        """Number of invalid rows; not duplicates, of which the latest row is kept, nor erased."""
        return sum(count for rule, count in self.quarantine.items() if rule not in TOLERATED_RULES)

    def share(self, count: int) -> float:
        """Returns ``count`` as a share of ``rows``."""
        return count / self.rows if self.rows else 0.0

    @property
    def invalid_share(self) -> float:
        """``invalid`` as a share of ``rows``."""
        return self.share(self.invalid)

    @property
    def shares(self) -> dict[Rule, float]:
        """Rejected rows of each rule as a share of ``rows``."""
        return {rule: self.share(count) for rule, count in self.quarantine.items()}


class Gap(BaseModel):
    """Consecutive days without a rating."""

    model_config = ConfigDict(frozen=True)

    after: str = Field(description="last day with a rating before the gap, ISO 8601, UTC")
    days: int = Field(gt=0, description="days without a rating")


class Profile(BaseModel):
    """Distributions of the interactions and movies of a dataset, each of bounded size."""

    model_config = ConfigDict(frozen=True)

    ratings: dict[str, int] = Field(description="interactions by stars, '0.5' to '5.0'")
    user_activity: dict[str, int] = Field(
        description="users by their interactions: '1', '2-3', '4-7', doubling"
    )
    movie_popularity: dict[str, int] = Field(
        description="movies by their interactions, in the same bins; '0': unrated movies"
    )
    growth: dict[str, int] = Field(
        description="interactions by quarter, '1996-Q2', without empty quarters"
    )
    gaps: list[Gap] = Field(description="the longest gaps, longest first, at most 5")
    release_years: dict[str, int] = Field(description="movies by decade, '1990s', or 'none'")
    genres: dict[str, int] = Field(
        description="movies by each of their genres: the 40 most common, 'other', or 'none'"
    )
    user_ids: tuple[int, int] = Field(description="smallest and largest")
    movie_ids: tuple[int, int] = Field(description="smallest and largest of rated movies")


class Stats(BaseModel):
    """Statistics of the features of a dataset: ``stats.json``, which marks them as complete.

    Equal md5 and settings give equal features, so features with these statistics can be reused.
    Only tolerances of invalid rows may differ between the builds that share them.
    """

    model_config = ConfigDict(frozen=True)

    md5: contract.Md5
    settings: FeatureSettings
    interactions: int = Field(gt=0)
    train: int = Field(gt=0)
    holdout: int = Field(ge=0)
    later: int = Field(
        default=0, ge=0, description="interactions at or after ``moment`` that are no holdout rows"
    )
    moment: int | None = Field(
        default=None, description="start of the time holdout, seconds since 1970, UTC"
    )
    users: int = Field(gt=0)
    movies: int = Field(gt=0, description="rows of movies.parquet")
    rated_movies: int = Field(gt=0, description="movies with at least one interaction")
    density: float = Field(gt=0, le=1, description="interactions / (users x rated movies)")
    first_timestamp: int = Field(description="seconds since 1970, UTC")
    last_timestamp: int
    mean_rating: float = Field(description="in the scale of the dataset")
    profile: Profile
    files: dict[str, FileStats] = Field(description="by file name in the dataset")
    sha256: dict[str, contract.Sha256] = Field(description="of each parquet file, by name")

    @property
    def prefix(self) -> str:
        """Prefix of these features in the store."""
        return self.settings.prefix(self.md5)

    def to_json(self) -> bytes:
        """Serializes the statistics for the store, UTF-8."""
        return self.model_dump_json(indent=2).encode()

    @classmethod
    def from_json(cls, data: bytes | str) -> Stats:
        """Parses stored statistics; raises pydantic.ValidationError if they are invalid."""
        return cls.model_validate_json(data)


def read_stats(prefix: str, store: ObjectStore) -> Stats | None:
    """Reads the statistics of the features below a prefix; None if they are not complete.

    Statistics that cannot be parsed were written by another revision of the code. Their features
    are treated as missing.
    """
    key = contract.features_key(prefix, contract.STATS_FILE)
    if store.head(key) is None:
        return None
    try:
        return Stats.from_json(store.get_bytes(key))
    except ValidationError as error:
        log.warning(
            "cannot read %s, so its features are made again: %s", key, first_invalid_field(error)
        )
        return None
