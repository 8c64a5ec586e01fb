"""The app: routes, errors, the thread that changes over to new releases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import (
    http_exception_handler,
    request_validation_exception_handler,
)
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from recsys_site import api, pages
from recsys_site.metrics import Metrics
from recsys_site.middleware import HEADERS, Observed
from recsys_site.parameters import Given
from recsys_site.releases import Releases, UnavailableError
from recsys_site.settings import SiteSettings

_RETRY_AFTER = {"Retry-After": "5"}


def create_app(settings: SiteSettings | None = None) -> FastAPI:
    """Makes the app.

    Args:
        settings: where the servers are; by default read from the environment.
    """
    settings = settings or SiteSettings()
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        releases = Releases(settings, metrics)
        app.state.releases = releases
        releases.start()
        yield
        releases.stop()

    app = FastAPI(
        title="Second Reel",
        summary="The reference site of a movie recommender",
        description="Every answer names the release that gave it, and is of that release alone.",
        version="1",
        lifespan=lifespan,
        # Their pages would load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(api.router)
    app.include_router(pages.router)
    _add_health(app, metrics)
    _add_errors(app)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    app.add_middleware(Observed, metrics=metrics)
    return app


def _add_health(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/healthz", tags=["health"])
    def healthz() -> dict[str, str]:
        """Whether the process lives."""
        return {"status": "alive"}

    @app.get("/readyz", tags=["health"], responses=api.UNAVAILABLE)
    def readyz(given: Given) -> JSONResponse:
        """Whether the site can answer.

        ``degraded`` is ready still: every replica shares the server that is down, and the last
        good release answers what it can.
        """
        said: dict[str, Any] = {"status": given.state}
        if given.problem:
            said["problem"] = given.problem
        if given.at_hand is None:
            return JSONResponse(
                said | {"detail": "no release was loaded yet"}, 503, headers=_RETRY_AFTER
            )
        return JSONResponse(said | {"release_id": given.at_hand.release_id})

    @app.get("/metrics", include_in_schema=False)
    def read_metrics(given: Given) -> PlainTextResponse:
        """Figures for Prometheus."""
        text = metrics.text(given.at_hand, degraded=given.state == "degraded")
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


def _add_errors(app: FastAPI) -> None:
    # The framework types handlers by the widest error that there is.
    handlers: dict[Any, Any] = {
        UnavailableError: _unavailable,
        HTTPException: _refused,
        RequestValidationError: _invalid,
        Exception: _broken,
    }
    for error, handler in handlers.items():
        app.add_exception_handler(error, handler)


def _wants_json(request: Request) -> bool:
    return request.url.path.startswith(("/api/", "/healthz", "/readyz", "/metrics", "/openapi"))


async def _unavailable(request: Request, error: UnavailableError) -> Response:
    if _wants_json(request):
        return JSONResponse({"detail": str(error)}, 503, headers=_RETRY_AFTER)
    return pages.problem(request, HTTPStatus.SERVICE_UNAVAILABLE, str(error), _RETRY_AFTER)


async def _refused(request: Request, error: HTTPException) -> Response:
    if _wants_json(request):
        return await http_exception_handler(request, error)
    return pages.problem(request, HTTPStatus(error.status_code), str(error.detail), error.headers)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    if _wants_json(request):
        return await request_validation_exception_handler(request, error)
    if any(found["loc"][0] == "path" for found in error.errors()):
        return pages.problem(request, HTTPStatus.NOT_FOUND, "There is nothing at this address.")
    return pages.problem(request, HTTPStatus.BAD_REQUEST, "That is more than we can read.")


async def _broken(request: Request, error: Exception) -> Response:
    # The server logs it; visitors learn nothing of what is inside. The framework answers this one
    # outside of all middleware, so it brings its own headers.
    if _wants_json(request):
        return JSONResponse({"detail": "This is our fault."}, 500, headers=HEADERS)
    return pages.problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, "This is our fault.", HEADERS)
