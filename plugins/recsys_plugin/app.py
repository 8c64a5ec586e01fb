"""The routes of the page. All need permission to view the DAG; a rollback needs more."""

from __future__ import annotations

from functools import partial
from html import escape
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlencode

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Depends, FastAPI, Form, HTTPException, Query, Request, status
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from recsys import contract, monitoring, releases
from recsys.errors import ArtifactError, PermanentError, RecsysError
from recsys.ledger import Actor, State
from recsys.monitoring import ReleaseQuery
from recsys.recommenders import Description
from recsys_dag import settings
from recsys_dag.airflow_address import base_path, page_path
from recsys_plugin import access, charts, runs

MAX_REASON: Final = 500
MAX_SEARCH: Final = 100
PER_PAGE: Final = 10
JSON_PER_PAGE: Final = 25
HISTORY_SHOWN: Final = 10
_HEADERS: Final = {
    # Only Airflow's UI may frame the page, and the page loads nothing from other addresses.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "form-action 'self'; frame-ancestors 'self'; base-uri 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

_pages = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

looking = APIRouter(dependencies=[Depends(access.shown)])
changing = APIRouter(dependencies=[Depends(access.may_roll_back), Depends(access.own_form)])


def make_app() -> FastAPI:
    """Creates the application that Airflow mounts under `URL_PREFIX`.

    The page of the first recommender is at its root; each has one below ``/of/<name>/``.
    """
    app = FastAPI(title="Recommender releases", openapi_url=None)
    for router in (looking, changing):
        app.include_router(router)
        app.include_router(router, prefix="/of/{recommender}")
    app.add_exception_handler(RecsysError, _explain)
    return app


def asked(
    state: Annotated[str, Query(max_length=20)] = "",
    search: Annotated[str, Query(max_length=MAX_SEARCH)] = "",
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
) -> ReleaseQuery:
    """Returns which releases the address asks for; an unknown state asks for all states."""
    known = State(state) if state in set(State) else None
    return ReleaseQuery(
        state=known, text=search.strip().replace("\0", ""), page=page, per_page=PER_PAGE
    )


Asked = Annotated[ReleaseQuery, Depends(asked)]


@looking.get("/", response_class=HTMLResponse)
def show_releases(
    user: GetUserDep,
    recommender: access.Shown,
    query: Asked,
    message: Annotated[str | None, Query(max_length=4000)] = None,
) -> HTMLResponse:
    """Renders the page: champion, releases with the gate's decisions, last runs, history."""
    overview = monitoring.read_overview(settings.services(recommender), query)
    prefix = _prefix(recommender)
    page = _pages.get_template("releases.html").render(
        overview=overview,
        runs=runs.last_runs(recommender.namespace.weekly_dag),
        waiting=runs.waiting(recommender.namespace.weekly_dag),
        history_shown=HISTORY_SHOWN,
        charts=charts.metric_charts(overview.charted),
        can_roll_back=access.can_roll_back(user, recommender),
        token=access.issue_token(access.name_of(user)),
        prefix=prefix,
        names=recommender.namespace,
        title=recommender.title,
        others=[
            (one.title, f"{_prefix(one)}/")
            for one in access.visible(user)
            if one.name != recommender.name
        ],
        message=access.unseal(message),
        max_reason=MAX_REASON,
        max_search=MAX_SEARCH,
        address=partial(address, prefix),
    )
    return HTMLResponse(page, headers=_HEADERS)


@looking.get("/overview.json")
def read_overview(recommender: access.Shown, query: Asked) -> JSONResponse:
    """Returns the contents of the page as JSON, with more releases on each page of the list."""
    longer = query.model_copy(update={"per_page": JSON_PER_PAGE})
    overview = monitoring.read_overview(settings.services(recommender), longer)
    return JSONResponse(overview.model_dump(mode="json"))


@looking.get("/releases/{release_id}/report.html")
def show_report(recommender: access.Shown, release_id: str) -> Response:
    """Returns the stored report of a release."""
    try:
        key = contract.release_key(release_id, contract.REPORT_FILE)
        content = settings.services(recommender).store.get_bytes(key)
    except (ValueError, ArtifactError) as error:
        raise HTTPException(
            status.HTTP_404_NOT_FOUND, "no report of this release is stored"
        ) from error
    page = content.replace(b"<body>", _back_link(recommender).encode(), 1)
    return Response(page, media_type="text/html; charset=utf-8", headers=_HEADERS)


@changing.post("/rollback")
def roll_back(
    user: GetUserDep,
    recommender: access.Shown,
    release: Annotated[str, Form(max_length=17)],
    reason: Annotated[str, Form(max_length=MAX_REASON)],
) -> RedirectResponse:
    """Makes an earlier release the champion again, and redirects to the page."""
    if not reason.strip():
        return _back(
            recommender, failed="A rollback needs a reason, which is recorded in the history."
        )
    actor = Actor.from_releases_page(access.name_of(user), reason.strip())
    try:
        contract.check_release_id(release)
        change = releases.roll_back(settings.services(recommender), release, actor=actor)
    except (RecsysError, ValueError) as error:
        return _back(recommender, failed=str(error))
    if not change.changed:
        return _back(recommender, done=f"{change.to_release} is already the champion.")
    return _back(
        recommender, done=f"Rolled back from {change.from_release} to {change.to_release}."
    )


def address(prefix: str, query: ReleaseQuery, page: int) -> str:
    """Returns the address of another page of the same list."""
    asked = {"state": query.state or "", "search": query.text, "page": page}
    return f"{prefix}/?{urlencode({name: value for name, value in asked.items() if value})}"


def _prefix(recommender: Description) -> str:
    return f"{base_path()}{page_path(recommender.namespace).rstrip('/')}"


def _back_link(recommender: Description) -> str:
    """Returns the start of a report's body; the stored report is also opened as a file."""
    link = f'<a href="{escape(_prefix(recommender))}/">All releases</a>'
    return f'<body><p style="margin:0;padding:.6rem 1.25rem">{link}</p>'


def _back(recommender: Description, **message: str) -> RedirectResponse:
    query = urlencode({"message": access.seal(message)})
    return RedirectResponse(f"{_prefix(recommender)}/?{query}", status.HTTP_303_SEE_OTHER)


def _explain(request: Request, error: Exception) -> Response:
    """Renders an error of the domain with its hint."""
    code = (
        status.HTTP_500_INTERNAL_SERVER_ERROR
        if isinstance(error, PermanentError)
        else status.HTTP_503_SERVICE_UNAVAILABLE
    )
    page = _pages.get_template("error.html").render(error=error)
    return HTMLResponse(page, code, headers=_HEADERS)
