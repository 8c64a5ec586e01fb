"""The HTML pages. They are rendered on the server and work without JavaScript."""

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
from recsys_site.parameters import MAX_ID, MAX_TEXT, InjectedReleases, read_ratings, write_ratings
from recsys_site.posters import poster

_SHELF: Final = 12
_MAX_MATCHES: Final = 24
_MAX_RATINGS_TEXT: Final = 2000

templates = Jinja2Templates(directory=Path(__file__).parent / "templates")
templates.env.globals["poster"] = poster
templates.env.trim_blocks = templates.env.lstrip_blocks = True

router = APIRouter(include_in_schema=False, default_response_class=Response)
Words = Annotated[str, Query(max_length=MAX_TEXT)]


@router.get("/")
def home(request: Request, releases: InjectedReleases) -> Response:
    """Shows the most rated movies and the ways to get recommendations."""
    live = releases.live
    return _page(
        request,
        "home.html",
        live=live,
        shelf=live.model.catalog.most_rated(_SHELF),
        examples=live.model.examples,
    )


@router.get("/search")
def search(request: Request, releases: InjectedReleases, q: Words = "") -> Response:
    """Shows the results of a search."""
    live = releases.live
    matches = live.model.catalog.search(q, _MAX_MATCHES)
    return _page(request, "search.html", live=live, q=q, matches=matches, most=_MAX_MATCHES)


@router.get("/movies/{movie_id}")
def movie(request: Request, releases: InjectedReleases, movie_id: MovieId) -> Response:
    """Shows a movie and similar ones, with the query that finds them."""
    live = releases.live
    requested = live.model.catalog.get(movie_id)
    if requested is None:
        raise HTTPException(404, "We do not have this movie.")
    with releases.connection() as conn:
        nearest = answers.similar_movies(conn, live, movie_id, _SHELF)
    return _page(
        request,
        "movie.html",
        live=live,
        movie=requested,
        similar=nearest,
        query=answers.similar_movies_query(live, movie_id, _SHELF),
    )


@router.get("/users")
def choose_user(request: Request, id: Annotated[str, Query(max_length=MAX_TEXT)] = "") -> Response:
    """Redirects to the page of the user whose number was entered."""
    number = id.strip()
    if not number.isascii() or not number.isdigit() or not 1 <= int(number) <= MAX_ID:
        raise HTTPException(404, "Enter a user number: 1 or more.")
    return RedirectResponse(request.url_for("user", user_id=int(number)).path, 303)


@router.get("/users/{user_id}", name="user")
def user(request: Request, releases: InjectedReleases, user_id: UserId) -> Response:
    """Shows recommendations for a user of the dataset."""
    live = releases.live
    try:
        with releases.connection() as conn:
            answer = answers.recommend_for_user(conn, live, user_id, _SHELF)
    except answers.UnknownUserError:
        raise HTTPException(404, f"We have no user {user_id}.") from None
    catalog = live.model.catalog
    return _page(
        request,
        "user.html",
        live=live,
        user_id=user_id,
        recommendations=answer.recommendations,
        seen_count=len(answer.seen),
        recent=[catalog.movie(movie) for movie in answer.seen[:6]],
    )


@router.get("/newcomer", name="cold_start")
def cold_start(
    request: Request,
    releases: InjectedReleases,
    r: Annotated[str, Query(max_length=_MAX_RATINGS_TEXT)] = "",
    q: Words = "",
) -> Response:
    """Shows recommendations for a visitor who rates a few movies; the URL contains the ratings."""
    live = releases.live
    catalog = live.model.catalog
    ratings = [(movie, stars) for movie, stars in read_ratings(r) if catalog.get(movie)]
    new_ratings = [
        (int(name[1:]), float(value))
        for name, value in request.query_params.multi_items()
        if name[:1] == "m" and name[1:].isascii() and name[1:].isdigit() and len(name) <= 11
        and value in {"1", "2", "3", "4", "5"}
    ]  # fmt: skip
    if new_ratings:
        merged = write_ratings(ratings + new_ratings)
        merged = write_ratings(read_ratings(merged))
        address = request.url_for("cold_start").include_query_params(r=merged)
        return RedirectResponse(f"{address.path}?{address.query}", 303)
    best = []
    if ratings:
        with releases.connection() as conn:
            best = answers.recommend_for_ratings(conn, live, ratings, _SHELF)
    rated = {movie for movie, _ in ratings}
    # Enough movies that a dozen unrated ones remain.
    to_rate = catalog.search(q, _SHELF) if q.strip() else catalog.most_rated(_SHELF + len(rated))
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
        recommendations=best,
        to_rate=[one for one in to_rate if one.movie_id not in rated][:_SHELF],
    )


@router.get("/release")
def release(request: Request, releases: InjectedReleases) -> Response:
    """Shows the release in use."""
    return _page(
        request, "release.html", live=releases.live, state=releases.state, problem=releases.problem
    )


def problem(
    request: Request,
    status: HTTPStatus,
    explanation: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Renders an error page with a search form."""
    return _page(
        request,
        "problem.html",
        status_code=status,
        headers=headers,
        live=request.app.state.releases.loaded,
        status=status,
        explanation=explanation,
    )


def _page(
    request: Request,
    template: str,
    *,
    status_code: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> Response:
    """Renders a page; the value ``live`` is its release, or None."""
    return templates.TemplateResponse(
        request, template, values, status_code=status_code, headers=headers
    )
