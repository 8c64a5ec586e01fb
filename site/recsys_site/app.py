"""The app: routes, and the thread that loads new releases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles

from recsys_site import api, pages
from recsys_site.metrics import Metrics
from recsys_site.middleware import ConditionalMiddleware, RequestMiddleware
from recsys_site.parameters import InjectedReleases
from recsys_site.problems import (
    RETRY_AFTER,
    add_error_handlers,
    describe_problems,
    problem_response,
)
from recsys_site.releases import Releases
from recsys_site.settings import SiteSettings


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
        # FastAPI's pages load scripts from another host; recsys_site.pages has one that does not.
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(api.router)
    app.include_router(pages.router)
    _add_health(app, metrics)
    add_error_handlers(app)
    app.mount(
        "/static/swagger-ui",
        StaticFiles(packages=[("fastapi_swagger", "resources")]),
        name="swagger-ui",
    )
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    app.add_middleware(ConditionalMiddleware)
    app.add_middleware(RequestMiddleware, metrics=metrics, refuse=problem_response)
    describe_problems(app)
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
                body | {"detail": "no release has been loaded yet"}, 503, headers=RETRY_AFTER
            )
        return JSONResponse(body | {"release_id": releases.loaded.release_id})

    @app.get("/metrics", include_in_schema=False)
    def read_metrics(releases: InjectedReleases) -> PlainTextResponse:
        """Return the metrics in Prometheus' text format."""
        text = metrics.text(releases.loaded, degraded=releases.state == "degraded")
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")
