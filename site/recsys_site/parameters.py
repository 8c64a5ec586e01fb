"""What requests may carry, and what routes are given."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import Depends, Request

from recsys_site.answers import MAX_RATINGS
from recsys_site.releases import Releases

MAX_ID: Final = 2**31 - 1
"""The largest number that the id columns hold."""
MAX_TEXT: Final = 100
_RATING: Final = re.compile(r"([1-9]\d{0,9})-([1-5])(?:\.([05]))?")


def _releases(request: Request) -> Releases:
    found: Releases = request.app.state.releases
    return found


Given = Annotated[Releases, Depends(_releases)]
"""The site's releases: a route takes ``live`` from it once."""


def read_ratings(text: str) -> list[tuple[int, float]]:
    """Reads ``1-4.5_50-3``: movie 1 got 4.5 stars, movie 50 got 3.

    What is not a rating is passed over, and of two ratings of one movie the later holds: the text
    comes from an address that people may have edited.
    """
    ratings: dict[int, float] = {}
    for part in text.split("_"):
        if (match := _RATING.fullmatch(part)) and int(match[1]) <= MAX_ID:
            stars = int(match[2]) + (0.5 if match[3] == "5" else 0)
            if stars <= 5:
                ratings.pop(int(match[1]), None)
                ratings[int(match[1])] = stars
    return list(ratings.items())[-MAX_RATINGS:]


def write_ratings(ratings: list[tuple[int, float]]) -> str:
    """The text that `read_ratings` reads."""
    return "_".join(f"{movie}-{stars:g}" for movie, stars in ratings)
