"""The rules that a row can violate. Reading statistics needs them, but no tables."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

MAX_TIMESTAMP: Final = 4_102_444_800
"""2100-01-01 in seconds since 1970. Timestamps in milliseconds are far beyond it."""


class Rule(StrEnum):
    """Rules that a row can violate; a row is counted under the first one, in this order."""

    ENCODING = "encoding"
    """Bytes that are not UTF-8, or control characters."""
    FIELD_COUNT = "field_count"
    """Another number of fields than the header has, or an unclosed quote."""
    WRONG_TYPE = "wrong_type"
    """Not a number: ids and timestamps are integers, ratings are decimals."""
    USER_ID_RANGE = "user_id_range"
    """User ids are 1 to 2**31 - 1, or to 2**63 - 1 in a dataset with ids of 64 bits."""
    MOVIE_ID_RANGE = "movie_id_range"
    """Movie ids have the range of user ids."""
    RATING_RANGE = "rating_range"
    """Ratings are 0.5 to 5.0 in half stars."""
    TIMESTAMP_RANGE = "timestamp_range"
    """Timestamps are seconds from 1970 until 2100."""
    TITLE_LENGTH = "title_length"
    """Titles have 1 to 500 characters."""
    UNKNOWN_MOVIE = "unknown_movie"
    """A rating of a movie that is not in movies.csv."""
    DUPLICATE = "duplicate"
    """An earlier row of the same movie, or of the same user and movie; the latest is kept."""
    ERASED = "erased"
    """A row of a user who was erased; only counted, never stored, and no fault of the dataset."""


TOLERATED_RULES: Final = frozenset({Rule.DUPLICATE, Rule.ERASED})
"""Rows that are left out although they are not invalid."""
