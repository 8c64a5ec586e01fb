"""Statistics of a dataset's features, stored next to them as ``stats.json``."""

from __future__ import annotations

import logging

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recsys import contract
from recsys.contract import FeatureSettings
from recsys.errors import first_invalid_field
from recsys.features.profile import Profile
from recsys.features.quarantine import FileStats
from recsys.object_store import ObjectStore

log = logging.getLogger(__name__)


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
    mean_rating: float = Field(description="stars")
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
