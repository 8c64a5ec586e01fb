"""Request parameters and the dependencies of routes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Final

from fastapi import Depends, Request

from recsys_site.answers import MAX_RATINGS
from recsys_site.releases import Releases

MAX_ID: Final = 2**31 - 1
"""The largest value of the id columns."""
MAX_TEXT: Final = 100
_RATING: Final = re.compile(r"([1-9]\d{0,9})-([0-5])(?:\.([05]))?")
_FIELD: Final = re.compile(r"m([1-9]\d{0,9})")
_STARS: Final = {f"{halves / 2:g}": halves / 2 for halves in range(11)}
"""Values of a rating's field; 0 removes the rating."""


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
            if 0.5 <= stars <= 5:
                ratings.pop(int(match[1]), None)
                ratings[int(match[1])] = stars
    return list(ratings.items())[-MAX_RATINGS:]


def write_ratings(ratings: list[tuple[int, float]]) -> str:
    """Formats ratings as `read_ratings` parses them."""
    return "_".join(f"{movie}-{stars:g}" for movie, stars in ratings)


def edit_ratings(
    ratings: list[tuple[int, float]], fields: Iterable[tuple[str, str]], dropped: str = ""
) -> list[tuple[int, float]]:
    """Applies the fields of a submitted form to the ratings of the page that it was on.

    Args:
        ratings: (movieId, stars), oldest first.
        fields: such as ``("m50", "4.5")``; no stars remove the rating, other fields are ignored.
        dropped: movieId of a rating to remove.

    Returns:
        The ratings, oldest first. A changed one becomes the newest, others keep their places.
    """
    before = dict(ratings)
    after = dict(ratings)
    for name, value in fields:
        match = _FIELD.fullmatch(name)
        if match is None or value not in _STARS or int(match[1]) > MAX_ID:
            continue
        movie, stars = int(match[1]), _STARS[value]
        # A form may hold a movie twice: the field that was not touched has the stars from before.
        if stars != before.get(movie, 0):
            after.pop(movie, None)
            if stars:
                after[movie] = stars
    return [(movie, stars) for movie, stars in after.items() if str(movie) != dropped][
        -MAX_RATINGS:
    ]
