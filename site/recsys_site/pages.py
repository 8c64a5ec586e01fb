"""The HTML pages. They are rendered on the server and work without JavaScript."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.templating import Jinja2Templates

from recsys_site import answers
from recsys_site.api import MovieId, UserId
from recsys_site.bundle import Live
from recsys_site.middleware import CONTENT_SECURITY_POLICY
from recsys_site.parameters import (
    ANY_SCALE,
    MAX_ID,
    MAX_TEXT,
    InjectedReleases,
    edit_ratings,
    read_ratings,
    write_ratings,
)
from recsys_site.posters import poster
from recsys_site.releases import UnavailableError

_SHELF: Final = 12
_MAX_MATCHES: Final = 24
_MAX_RATINGS_TEXT: Final = 2000
_SUBMITTED: Final = {"searched", "drop"}
"""Fields of the form with the stars."""


def star_text(stars: float) -> str:
    """Writes stars as people do: ``4½``."""
    whole, half = divmod(stars, 1)
    return (f"{whole:g}" if whole or not half else "") + ("½" if half else "")


templates = Jinja2Templates(directory=Path(__file__).parent / "templates")
templates.env.globals["poster"] = poster
templates.env.filters["stars"] = star_text
templates.env.trim_blocks = templates.env.lstrip_blocks = True

router = APIRouter(include_in_schema=False, default_response_class=Response)
Words = Annotated[str, Query(max_length=MAX_TEXT)]


@router.get("/")
def home(request: Request, releases: InjectedReleases) -> Response:
    """Shows the most rated movies and the ways to get recommendations."""
    live = releases.live
    try:
        # Behind a pooler or on a standby, no notification says that a user was erased.
        with releases.connection() as conn:
            examples = answers.known_users(conn, live, live.model.examples)
    except UnavailableError:
        examples = []
    return _page(
        request,
        "home.html",
        live=live,
        shelf=live.model.catalog.most_rated(_SHELF),
        examples=examples,
    )


@router.get("/search")
def search(request: Request, releases: InjectedReleases, q: Words = "") -> Response:
    """Shows the results of a search."""
    live = releases.live
    found = live.model.catalog.search(q, _MAX_MATCHES)
    return _page(request, "search.html", live=live, q=q, found=found, most=_MAX_MATCHES)


@router.get("/movies/{movie_id}")
def movie(request: Request, releases: InjectedReleases, movie_id: MovieId) -> Response:
    """Shows a movie and similar ones, with the query that finds them."""
    live = releases.live
    requested = live.model.catalog.get(movie_id)
    if requested is None:
        raise HTTPException(404, "We do not have this movie.")
    scale = live.model.scale
    loved = [(f"m{movie_id}", f"{scale.max:g}")]
    with releases.connection() as conn:
        nearest = answers.similar_movies(conn, live, movie_id, _SHELF)
    return _page(
        request,
        "movie.html",
        live=live,
        movie=requested,
        similar=nearest,
        loved=write_ratings(edit_ratings(_ratings(request, live), loved, scale=scale)),
        query=answers.similar_movies_query(live, movie_id, _SHELF),
    )


@router.get("/users")
def choose_user(request: Request, id: Annotated[str, Query(max_length=MAX_TEXT)] = "") -> Response:
    """Redirects to the page of the user whose number was entered."""
    number = id.strip()
    if not number.isascii() or not number.isdigit() or not 1 <= int(number) <= MAX_ID:
        raise HTTPException(404, "Enter a user number: 1 or more.")
    ratings = write_ratings(_ratings(request, None))
    path = request.url_for("user", user_id=int(number)).path
    return RedirectResponse(f"{path}?r={ratings}" if ratings else path, 303)


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
    catalog, scale = live.model.catalog, live.model.scale
    query = request.query_params
    known = read_ratings(r, scale)
    ratings = edit_ratings(known, query.multi_items(), query.get("drop", ""), scale)
    if _SUBMITTED & query.keys() or ratings != known:
        # A form was sent: lead to a page whose address can be kept.
        address = request.url_for("cold_start")
        if ratings:
            address = address.include_query_params(r=write_ratings(ratings))
        if q.strip() and q != query.get("searched"):
            address = address.include_query_params(q=q)
        return RedirectResponse(address.path + (f"?{address.query}" if address.query else ""), 303)
    ratings = [(movie, stars) for movie, stars in ratings if catalog.get(movie)]
    stars_by_movie = dict(ratings)
    found = catalog.search(q, _SHELF)
    best = []
    if ratings and not q.strip():
        with releases.connection() as conn:
            best = answers.recommend_for_ratings(conn, live, ratings, _SHELF)
    # Enough movies that a dozen unrated ones remain.
    popular = catalog.most_rated(_SHELF + len(ratings))
    unrated = [one for one in popular if one.movie_id not in stars_by_movie][:_SHELF]
    return _page(
        request,
        "cold_start.html",
        live=live,
        q=q.strip(),
        found=found,
        rated=[(catalog.movie(movie), stars) for movie, stars in reversed(ratings)],
        stars_of=stars_by_movie,
        recommendations=best,
        to_rate=found.movies if q.strip() else unrated,
        choices=scale.choices(halves=live.model.has_half_stars),
        scale=scale,
    )


@router.get("/docs")
def docs() -> Response:
    """Shows the API's description; Swagger UI needs its own style sheet and drawings in it."""
    page = templates.get_template("docs.html").render()
    policy = CONTENT_SECURITY_POLICY.replace("img-src 'self'", "img-src 'self' data:")
    return HTMLResponse(page, headers={"Content-Security-Policy": policy})


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
    """Renders a page; the value ``live`` is its release, or None.

    Every link and form of the page passes the visitor's ratings on: only addresses contain them.
    """
    rated = _ratings(request, values["live"])
    ratings = write_ratings(rated)

    def to(path: str, **query: str) -> str:
        named = {"r": ratings} | query
        encoded = urlencode({name: value for name, value in named.items() if value})
        return f"{path}?{encoded}" if encoded else path

    common = {"ratings": ratings, "rating_count": len(rated), "to": to}
    return templates.TemplateResponse(
        request, template, common | values, status_code=status_code, headers=headers
    )


def _ratings(request: Request, live: Live | None) -> list[tuple[int, float]]:
    """Reads the ratings in the address, without those of movies that the release lacks."""
    scale = ANY_SCALE if live is None else live.model.scale
    ratings = read_ratings(request.query_params.get("r", ""), scale)
    return [rating for rating in ratings if live is None or live.model.catalog.get(rating[0])]
