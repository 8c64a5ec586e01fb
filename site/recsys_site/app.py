"""The app: routes, error handlers, and the thread that loads new releases."""

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
from recsys_site.middleware import HEADERS, RequestMiddleware
from recsys_site.parameters import InjectedReleases
from recsys_site.releases import Releases, UnavailableError
from recsys_site.settings import SiteSettings

_RETRY_AFTER = {"Retry-After": "5"}


def create_app(settings: SiteSettings | None = None) -> FastAPI:
    """Creates the app.

    Args:
        settings: servers and credentials; read from the environment by default.
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
        description="Every response names its release and contains data of that release only.",
        version="1",
        lifespan=lifespan,
        # These pages would load scripts from another host.
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(api.router)
    app.include_router(pages.router)
    _add_health(app, metrics)
    _add_errors(app)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    app.add_middleware(RequestMiddleware, metrics=metrics)
    return app


def _add_health(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/healthz", tags=["health"])
    def healthz() -> dict[str, str]:
        """Report that the process is alive."""
        return {"status": "alive"}

    @app.get("/readyz", tags=["health"], responses=api.UNAVAILABLE)
    def readyz(releases: InjectedReleases) -> JSONResponse:
        """Report whether the site can serve requests.

        ``degraded`` counts as ready: all replicas share the unavailable server, and the last good
        release still serves what it can.
        """
        body: dict[str, Any] = {"status": releases.state}
        if releases.problem:
            body["problem"] = releases.problem
        if releases.loaded is None:
            return JSONResponse(
                body | {"detail": "no release has been loaded yet"}, 503, headers=_RETRY_AFTER
            )
        return JSONResponse(body | {"release_id": releases.loaded.release_id})

    @app.get("/metrics", include_in_schema=False)
    def read_metrics(releases: InjectedReleases) -> PlainTextResponse:
        """Return the metrics in Prometheus' text format."""
        text = metrics.text(releases.loaded, degraded=releases.state == "degraded")
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


def _add_errors(app: FastAPI) -> None:
    # The framework types handlers as handlers of any Exception.
    handlers: dict[Any, Any] = {
        UnavailableError: _unavailable,
        HTTPException: _http_error,
        RequestValidationError: _invalid_request,
        Exception: _internal_error,
    }
    for error, handler in handlers.items():
        app.add_exception_handler(error, handler)


def _wants_json(request: Request) -> bool:
    return request.url.path.startswith(("/api/", "/healthz", "/readyz", "/metrics", "/openapi"))


async def _unavailable(request: Request, error: UnavailableError) -> Response:
    if _wants_json(request):
        return JSONResponse({"detail": str(error)}, 503, headers=_RETRY_AFTER)
    return pages.problem(request, HTTPStatus.SERVICE_UNAVAILABLE, str(error), _RETRY_AFTER)


async def _http_error(request: Request, error: HTTPException) -> Response:
    if _wants_json(request):
        return await http_exception_handler(request, error)
    return pages.problem(request, HTTPStatus(error.status_code), str(error.detail), error.headers)


async def _invalid_request(request: Request, error: RequestValidationError) -> Response:
    if _wants_json(request):
        return await request_validation_exception_handler(request, error)
    if any(detail["loc"][0] == "path" for detail in error.errors()):
        return pages.problem(request, HTTPStatus.NOT_FOUND, "There is no page at this address.")
    return pages.problem(
        request, HTTPStatus.BAD_REQUEST, "This search or list of ratings is too long."
    )


async def _internal_error(request: Request, error: Exception) -> Response:
    # The server logs the error; visitors see no internals. The framework handles it outside of all
    # middleware, so the security headers are added here.
    if _wants_json(request):
        return JSONResponse({"detail": "Something went wrong on our side."}, 500, headers=HEADERS)
    return pages.problem(
        request, HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong on our side.", HEADERS
    )
