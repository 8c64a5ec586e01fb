"""A web server for datasets with configurable faults; it is also an HTTP proxy."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import re
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import numpy as np


def md5_of(content: bytes) -> str:
    return hashlib.new("md5", content, usedforsecurity=False).hexdigest()


def make_zip(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(f"ml/{name}.csv", content)
    return out.getvalue()


# Random bytes do not compress, so the zip takes several chunks.
NOISE = np.random.default_rng(1).integers(0, 256, 3 << 20, np.uint8).tobytes()
ZIP = make_zip(ratings=NOISE, movies=b"movieId,title,genres\n")
MD5 = md5_of(ZIP)


@dataclass
class Answer:
    """The response of the web server for one path."""

    content: bytes = b""
    status: int = 200
    ranges: bool = True
    supports_if_range: bool = True
    etag: str | None = '"one"'
    sends_length: bool = True
    """If false, the end of the connection is the end of the file."""
    chunked: bool = False
    """Whether the body is sent in chunks, which have a mark at their end."""
    encoding: str | None = None
    """Content-Encoding; the body is compressed with gzip, even if the request forbids it."""
    location: str | None = None
    cut_after: int | None = None
    """Number of bytes after which the connection is closed."""
    cuts: int = 10**9
    """How many connections are closed early."""
    stalls_after: int | None = None
    """Number of bytes after which the server sends nothing, without closing the connection."""
    drips: bool = False
    """Whether a stalled server sends a single byte now and then."""
    wrong_length: int | None = None
    """Content-Length, if it differs from the true length."""
    content_range: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    """Further headers of the response."""
    then: Callable[[Answer], None] = field(default=lambda answer: None)
    """Called after each response, to change the source."""


@dataclass
class Web:
    """A running web server with configurable faults."""

    address: str
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """(path, Range header) of each request."""
    proxied: list[str] = field(default_factory=list)
    """Hosts of the requests that it received as a proxy."""
    proxy_login: str | None = None
    """user:password that it requires as a proxy."""
    wanted: dict[str, str] = field(default_factory=dict)
    """Headers that each request must have; the answer to others is 401."""
    received: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """(path, headers) of each request."""
    ended: threading.Event = field(default_factory=threading.Event)

    def publish(self, md5: str = MD5, name: str = "ml.zip", **how: Any) -> str:
        """Serves a dataset and its md5 file; returns the URL."""
        self.answers[f"/{name}"] = Answer(**{"content": ZIP, **how})
        self.answers[f"/{name}.md5"] = Answer(f"MD5 ({name}) = {md5}\n".encode())
        return f"{self.address}/{name}"


class _Server(ThreadingHTTPServer):
    site: Web

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client may close the connection before it has read everything.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        site = self.server.site
        url = urlsplit(self.path)
        if url.netloc:
            site.proxied.append(url.netloc)
            if not self._may_use_proxy():
                return
        site.asked.append((url.path, self.headers.get("Range")))
        site.received.append((url.path, dict(self.headers)))
        if any(self.headers.get(name) != value for name, value in site.wanted.items()):
            self._send(Answer(b"who are you?", status=401))
            return
        # A signed URL is valid for one path and query only.
        whole = site.answers.get(f"{url.path}?{url.query}")
        answer = whole or site.answers.get(url.path, Answer(b"not here", status=404))
        self._send(answer)
        answer.then(answer)

    def do_CONNECT(self) -> None:
        self.server.site.proxied.append(self.path)
        if self._may_use_proxy():
            self.send_error(502)

    def _may_use_proxy(self) -> bool:
        login = self.server.site.proxy_login
        given = self.headers.get("Proxy-Authorization")
        if login is None or given == f"Basic {base64.b64encode(login.encode()).decode()}":
            return True
        self.send_error(407)
        return False

    def _send(self, answer: Answer) -> None:
        start, status = 0, answer.status
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        unchanged = self.headers.get("If-Range") == answer.etag or not answer.supports_if_range
        if answer.ranges and wanted and unchanged and status == 200:
            start, status = int(wanted[1]), 206
            if start >= len(answer.content):
                self.send_error(416)
                return
        body = answer.content[start:]
        if answer.encoding:
            body = gzip.compress(body)
        self.send_response(status)
        for name, value in self._headers(answer, body, start, status).items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.close_connection = bool(answer.wrong_length) or not answer.sends_length
        self._write(answer, body)

    def _headers(
        self, answer: Answer, body: bytes, start: int, status: int
    ) -> dict[str, str | None]:
        whole = len(answer.content)
        true_range = f"bytes {start}-{whole - 1}/{whole}"
        return {
            **answer.headers,
            "ETag": answer.etag,
            "Location": answer.location,
            "Content-Encoding": answer.encoding,
            "Content-Range": (answer.content_range or true_range) if status == 206 else None,
            "Content-Length": str(answer.wrong_length or len(body))
            if answer.sends_length and not answer.chunked
            else None,
            "Transfer-Encoding": "chunked" if answer.chunked else None,
        }

    def _write(self, answer: Answer, body: bytes) -> None:
        if answer.chunked:
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        if answer.cut_after is not None and answer.cuts > 0:
            answer.cuts -= 1
            body = body[: answer.cut_after]
            self.close_connection = True
        if answer.stalls_after is None:
            self.wfile.write(body)
            return
        self.wfile.write(body[: answer.stalls_after])
        rest = iter(body[answer.stalls_after :])
        while not self.server.site.ended.wait(0.02):
            if answer.drips:
                self.wfile.write(bytes([next(rest, 0)]))
        self.close_connection = True


@contextmanager
def serving() -> Iterator[Web]:
    """Runs a server on loopback for the time of a ``with`` block."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.site = Web(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.site
    finally:
        server.site.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
