"""The pages: drawn on the server, whole without a script."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.templating import Jinja2Templates

from recsys_site import answers
from recsys_site.api import MovieId, UserId
from recsys_site.parameters import MAX_ID, MAX_TEXT, Given, read_ratings, write_ratings
from recsys_site.posters import poster

_SHELF: Final = 12
_FOUND: Final = 24
_MAX_RATINGS_TEXT: Final = 2000

templates = Jinja2Templates(directory=Path(__file__).parent / "templates")
templates.env.globals["poster"] = poster
templates.env.trim_blocks = templates.env.lstrip_blocks = True

router = APIRouter(include_in_schema=False, default_response_class=Response)
Words = Annotated[str, Query(max_length=MAX_TEXT)]


@router.get("/")
def home(request: Request, given: Given) -> Response:
    """The best known movies, and ways in."""
    live = given.live
    return _page(
        request,
        "home.html",
        live=live,
        shelf=live.model.catalog.best_known(_SHELF),
        examples=live.model.examples,
    )


@router.get("/search")
def search(request: Request, given: Given, q: Words = "") -> Response:
    """Movies by words."""
    live = given.live
    found = live.model.catalog.search(q, _FOUND)
    return _page(request, "search.html", live=live, q=q, found=found, most=_FOUND)


@router.get("/movies/{movie_id}")
def movie(request: Request, given: Given, movie_id: MovieId) -> Response:
    """A movie and those like it, with the query that found them."""
    live = given.live
    asked = live.model.catalog.get(movie_id)
    if asked is None:
        raise HTTPException(404, "This release knows no such movie.")
    with given.connection() as conn:
        found = answers.similar(conn, live, movie_id, _SHELF)
    return _page(
        request,
        "movie.html",
        live=live,
        movie=asked,
        similar=found,
        query=answers.similar_query(live, movie_id, _SHELF),
    )


@router.get("/users")
def choose_user(request: Request, id: Annotated[str, Query(max_length=MAX_TEXT)] = "") -> Response:
    """Goes to the page of the user whose number was typed."""
    number = id.strip()
    if not number.isascii() or not number.isdigit() or not 1 <= int(number) <= MAX_ID:
        raise HTTPException(404, "A user is a number, 1 or more.")
    return RedirectResponse(request.url_for("user", user_id=int(number)).path, 303)


@router.get("/users/{user_id}", name="user")
def user(request: Request, given: Given, user_id: UserId) -> Response:
    """Recommendations for a user of the dataset."""
    live = given.live
    try:
        with given.connection() as conn:
            found = answers.for_user(conn, live, user_id, _SHELF)
    except answers.UnknownUserError:
        raise HTTPException(404, f"This release knows no user {user_id}.") from None
    catalog = live.model.catalog
    return _page(
        request,
        "user.html",
        live=live,
        user_id=user_id,
        recommendations=found.recommendations,
        seen_count=len(found.seen),
        recent=[catalog.movie(movie) for movie in found.seen[:6]],
    )


@router.get("/newcomer", name="newcomer")
def newcomer(
    request: Request,
    given: Given,
    r: Annotated[str, Query(max_length=_MAX_RATINGS_TEXT)] = "",
    q: Words = "",
) -> Response:
    """Recommendations for somebody who rates a few movies here; the address holds the ratings."""
    live = given.live
    catalog = live.model.catalog
    ratings = [(movie, stars) for movie, stars in read_ratings(r) if catalog.get(movie)]
    given_now = [
        (int(name[1:]), float(value))
        for name, value in request.query_params.multi_items()
        if name[:1] == "m" and name[1:].isascii() and name[1:].isdigit() and len(name) <= 11
        and value in {"1", "2", "3", "4", "5"}
    ]  # fmt: skip
    if given_now:
        merged = write_ratings(ratings + given_now)
        merged = write_ratings(read_ratings(merged))
        address = request.url_for("newcomer").include_query_params(r=merged)
        return RedirectResponse(f"{address.path}?{address.query}", 303)
    found = []
    if ratings:
        with given.connection() as conn:
            found = answers.for_newcomer(conn, live, ratings, _SHELF)
    rated = {movie for movie, _ in ratings}
    # Enough that a dozen unrated ones are left.
    to_rate = catalog.search(q, _SHELF) if q.strip() else catalog.best_known(_SHELF + len(rated))
    return _page(
        request,
        "cold_start.html",
        live=live,
        q=q,
        ratings=write_ratings(ratings),
        rated=[
            (catalog.movie(movie), stars, write_ratings([x for x in ratings if x[0] != movie]))
            for movie, stars in reversed(ratings)
        ],
        recommendations=found,
        to_rate=[one for one in to_rate if one.movie_id not in rated][:_SHELF],
    )


@router.get("/release")
def release(request: Request, given: Given) -> Response:
    """Which release answers, and how a change over works."""
    return _page(request, "release.html", live=given.live, state=given.state, problem=given.problem)


def problem(
    request: Request,
    status: HTTPStatus,
    said: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A page for what went wrong, with a search to go on from."""
    return _page(
        request,
        "problem.html",
        status_code=status,
        headers=headers,
        live=request.app.state.releases.at_hand,
        status=status,
        said=said,
    )


def _page(
    request: Request,
    template: str,
    *,
    status_code: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> Response:
    """Draws a page; ``live`` is the release that it is of, or None."""
    return templates.TemplateResponse(
        request, template, values, status_code=status_code, headers=headers
    )
