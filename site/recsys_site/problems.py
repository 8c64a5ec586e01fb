"""Errors as responses: problem details (RFC 9457) for programs, pages for visitors."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from recsys_site import pages
from recsys_site.middleware import HEADERS
from recsys_site.releases import UnavailableError

RETRY_AFTER: Final = {"Retry-After": "5"}
_FOR_PROGRAMS: Final = ("api", "healthz", "readyz", "metrics", "openapi.json")
_MEDIA_TYPE: Final = "application/problem+json"
_OURS: Final = "Something went wrong on our side."


def add_error_handlers(app: FastAPI) -> None:
    """Registers the handlers of all errors."""
    # The framework types handlers as handlers of any Exception.
    handlers: dict[Any, Any] = {
        UnavailableError: _unavailable,
        HTTPException: _http_error,
        RequestValidationError: _invalid_request,
        Exception: _internal_error,
    }
    for error, handler in handlers.items():
        app.add_exception_handler(error, handler)


def problem_json(
    status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """Returns problem details.

    Args:
        status: the HTTP status.
        detail: what is wrong.
        headers: more headers.
        more: more members.
    """
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    return JSONResponse(body | {"detail": detail} | more, status, headers, _MEDIA_TYPE)


def problem_response(
    request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Returns an error in the form that the client expects, by the path of the request."""
    if _wants_json(request):
        return problem_json(status, detail, headers)
    return pages.problem(request, HTTPStatus(status), detail, headers)


def describe_problems(app: FastAPI) -> None:
    """Lets the OpenAPI description name the media type and schema of all errors."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _use_problems(generate())
        return generate()

    app.openapi = openapi  # type: ignore[method-assign]  # as the framework documents it


def _use_problems(description: dict[str, Any]) -> None:
    content = {_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path, methods in description["paths"].items():
        if path == "/readyz":
            continue
        for operation in methods.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    response["content"] = content
    for unused in ("HTTPValidationError", "ValidationError"):
        description["components"]["schemas"].pop(unused, None)


def _wants_json(request: Request) -> bool:
    return request.url.path.split("/")[1] in _FOR_PROGRAMS


async def _unavailable(request: Request, error: UnavailableError) -> Response:
    return problem_response(request, 503, str(error), RETRY_AFTER)


async def _http_error(request: Request, error: HTTPException) -> Response:
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # The middleware serves HEAD like GET; static files do not name their methods.
        methods = {name.strip() for name in headers.pop("Allow", "GET").split(",")}
        methods |= {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        headers["Allow"] = ", ".join(sorted(methods))
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
    return problem_response(request, error.status_code, str(error.detail), headers)


async def _invalid_request(request: Request, error: RequestValidationError) -> Response:
    if _wants_json(request):
        errors = [
            {"at": ".".join(map(str, one["loc"])), "problem": one["msg"]} for one in error.errors()
        ]
        is_json = all(one["type"] != "json_invalid" for one in error.errors())
        detail = "; ".join(f"{one['at']}: {one['problem']}" for one in errors)
        return problem_json(422 if is_json else 400, detail, errors=errors)
    if any(detail["loc"][0] == "path" for detail in error.errors()):
        return pages.problem(request, HTTPStatus.NOT_FOUND, "There is no page at this address.")
    return pages.problem(
        request, HTTPStatus.BAD_REQUEST, "This search or list of ratings is too long."
    )


async def _internal_error(request: Request, error: Exception) -> Response:
    # The server logs the error; visitors see no internals. The framework handles it outside of all
    # middleware, so the security headers are added here.
    return problem_response(request, 500, _OURS, HEADERS)
