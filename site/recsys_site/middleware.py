"""Middleware for every request: metrics, headers, HEAD, conditional requests, limits on sizes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys_site.metrics import Metrics

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
MAX_BODY: Final = 64 * 1024
"""Bytes. The longest accepted list of ratings takes a tenth of it."""
MAX_URL: Final = 8000
"""Bytes of path and query, which RFC 9110 asks servers to support at least."""
_METHODS: Final = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_NEVER_STORED: Final = ("/healthz", "/readyz", "/metrics")
_REDIRECTS: Final = {301, 302, 303, 307, 308}

Refuse = Callable[[Request, int, str], Response]
"""Makes the response of an error: its status and what to say."""


class RequestMiddleware:
    """ASGI middleware: counts requests, adds security headers, serves HEAD, limits sizes.

    Args:
        app: the wrapped app.
        metrics: counts requests and their durations.
        refuse: makes the responses of errors.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, refuse: Refuse) -> None:
        self._app = app
        self._metrics = metrics
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request.

        Raises:
            HTTPException: the body is longer than `MAX_BODY`.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        # The server sends no body in response to the original method.
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(scope, status, MutableHeaders(scope=message))
            await send(message)

        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY:
                raise HTTPException(413, f"more than {MAX_BODY} bytes")
            return message

        began = time.perf_counter()
        try:
            if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_URL:
                refusal = self._refuse(Request(scope), 414, f"more than {MAX_URL} bytes")
                await refusal(inner, receive_limited, send_with_headers)
            else:
                await self._app(inner, receive_limited, send_with_headers)
        finally:
            # Both labels have few values, so clients cannot create an unbounded number of series.
            route = getattr(inner.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(route, method, status).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - began)


def _add_headers(scope: Scope, status: int, headers: MutableHeaders) -> None:
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    # Pages change with the release, and static files with the edition of the site: both are
    # revalidated by their ETag. A page may contain what a visitor rated.
    if scope["path"].startswith("/static/") and status < 400:
        headers.setdefault("Cache-Control", "no-cache")
    elif status in {200, 304} and scope["path"] not in _NEVER_STORED:
        headers.setdefault("Cache-Control", "private, no-cache")
    else:
        headers.setdefault("Cache-Control", "no-store")
    if status in _REDIRECTS and "location" in headers:
        # Behind a proxy, the site knows neither the scheme nor the host of its address. Several
        # slashes at the beginning would name another host.
        target = urlsplit(headers["location"])
        path = "/" + target.path.lstrip("/\\")
        headers["location"] = path + (f"?{target.query}" if target.query else "")


class ConditionalMiddleware:
    """ASGI middleware that gives a page an ETag, and answers 304 to a visitor who has it.

    Args:
        app: the wrapped app.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        is_page = scope["type"] == "http" and not scope["path"].startswith("/static/")
        if not is_page or scope["method"] != "GET" or scope["path"] in _NEVER_STORED:
            await self._app(scope, receive, send)
            return
        start: Message = {}
        parts: list[bytes] = []

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                if start["status"] != 200:
                    await send(message)
                return
            if start["status"] != 200:
                await send(message)
                return
            parts.append(message.get("body", b""))
            if message.get("more_body"):
                return
            body = b"".join(parts)
            headers = MutableHeaders(scope=start)
            headers["ETag"] = etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            if _has(Headers(scope=scope).get("if-none-match", ""), etag):
                start["status"] = 304
                for name in ("content-length", "content-type"):
                    del headers[name]
                body = b""
            await send(start)
            await send({"type": "http.response.body", "body": body})

        await self._app(scope, receive, collect)


def _has(known: str, etag: str) -> bool:
    """Whether ``If-None-Match`` names the tag; a proxy that compresses makes a tag weak."""
    tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
    return bool(tags & {etag, "*"})
