"""Request parameters and the dependencies of routes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Final

from fastapi import Depends, Request

from recsys_site.answers import MAX_ID as MAX_ID
from recsys_site.answers import MAX_RATINGS
from recsys_site.releases import Releases
from recsys_site.scale import LARGEST_RATING, RatingScale

MAX_TEXT: Final = 100
_RATING: Final = re.compile(r"([1-9]\d{0,18})-(\d{1,3})(?:\.([05]))?")
STARS: Final = RatingScale()
ANY_SCALE: Final = RatingScale(0, LARGEST_RATING)
NOT_RATED: Final = "none"
"""Value of the field of a movie that has no rating."""
_FIELD: Final = re.compile(r"m([1-9]\d{0,18})")
_VALUE: Final = re.compile(r"(\d{1,3})(?:\.([05]))?")


def _releases(request: Request) -> Releases:
    releases: Releases = request.app.state.releases
    return releases


InjectedReleases = Annotated[Releases, Depends(_releases)]
"""Dependency: the site's releases. A route reads ``live`` once per request."""


def read_ratings(text: str, scale: RatingScale = ANY_SCALE) -> list[tuple[int, float]]:
    """Parses ``1-4.5_50-3``: movie 1 has 4.5 stars, movie 50 has 3.

    The text comes from a URL that people may have edited, so malformed parts are ignored. If a
    movie occurs twice, the later rating counts.

    Args:
        text: the ratings.
        scale: ratings outside of it are ignored.
    """
    ratings: dict[int, float] = {}
    for part in text.split("_"):
        if (match := _RATING.fullmatch(part)) and int(match[1]) <= MAX_ID:
            stars = int(match[2]) + (0.5 if match[3] == "5" else 0)
            if scale.contains(stars):
                ratings.pop(int(match[1]), None)
                ratings[int(match[1])] = stars
    return list(ratings.items())[-MAX_RATINGS:]


def write_ratings(ratings: list[tuple[int, float]]) -> str:
    """Formats ratings as `read_ratings` parses them."""
    return "_".join(f"{movie}-{stars:g}" for movie, stars in ratings)


def edit_ratings(
    ratings: list[tuple[int, float]],
    fields: Iterable[tuple[str, str]],
    dropped: str = "",
    scale: RatingScale = STARS,
) -> list[tuple[int, float]]:
    """Applies the fields of a submitted form to the ratings of the page that it was on.

    Args:
        ratings: (movieId, stars), oldest first.
        fields: such as ``("m50", "4.5")``; ``none``, and 0 if it is no rating of the scale, remove
            the rating; other fields are ignored.
        dropped: movieId of a rating to remove.
        scale: ratings outside of it are ignored.

    Returns:
        The ratings, oldest first. A changed one becomes the newest, others keep their places.
    """
    before = dict(ratings)
    after = dict(ratings)
    for name, value in fields:
        match = _FIELD.fullmatch(name)
        number = _VALUE.fullmatch(value)
        if match is None or int(match[1]) > MAX_ID or not (number or value == NOT_RATED):
            continue
        movie, stars = int(match[1]), float(value) if number else None
        if stars is not None and not scale.contains(stars):
            if stars:
                continue
            stars = None
        # A form may hold a movie twice: the field that was not touched has the stars from before.
        if stars != before.get(movie):
            after.pop(movie, None)
            if stars is not None:
                after[movie] = stars
    return [(movie, stars) for movie, stars in after.items() if str(movie) != dropped][
        -MAX_RATINGS:
    ]
