"""Request parameters and the dependencies of routes."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import Depends, Request

from recsys_site.answers import MAX_RATINGS
from recsys_site.releases import Releases

MAX_ID: Final = 2**31 - 1
"""The largest value of the id columns."""
MAX_TEXT: Final = 100
_RATING: Final = re.compile(r"([1-9]\d{0,9})-([1-5])(?:\.([05]))?")


def _releases(request: Request) -> Releases:
    releases: Releases = request.app.state.releases
    return releases


InjectedReleases = Annotated[Releases, Depends(_releases)]
"""Dependency: the site's releases. A route reads ``live`` once per request."""


def read_ratings(text: str) -> list[tuple[int, float]]:
    """Parses ``1-4.5_50-3``: movie 1 has 4.5 stars, movie 50 has 3.

    The text comes from a URL that people may have edited, so malformed parts are ignored. If a
    movie occurs twice, the later rating counts.
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
    """Formats ratings as `read_ratings` parses them."""
    return "_".join(f"{movie}-{stars:g}" for movie, stars in ratings)
