"""A small S3 server in memory with the faults of others: it stores what a real one would decode."""

from __future__ import annotations

import hashlib
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import SecretStr

from recsys.object_store import S3Settings

_META = "x-amz-meta-"


@dataclass
class StandIn:
    """What the server holds, and how it behaves.

    Attributes:
        decodes: whether it understands ``aws-chunked``; if not, the framing becomes content.
        damage: called with each body; its result is stored.
        etag: makes the ETag of a content; real servers do not all use the md5.
        refuses: HTTP status and code of the answer to each upload.
        objects: content and metadata by key.
        requests: method and path of each request.
    """

    url: str = ""
    decodes: bool = True
    damage: Callable[[bytes], bytes] = lambda body: body
    etag: Callable[[bytes], str] = lambda body: hashlib.md5(body, usedforsecurity=False).hexdigest()
    refuses: tuple[int, str] | None = None
    objects: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    parts: dict[int, bytes] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def settings(self) -> S3Settings:
        word = SecretStr("word")
        return S3Settings(
            bucket="bucket", endpoint=self.url, access_key=word, secret_key=word, max_attempts=2
        )

    def count(self, method: str) -> int:
        return sum(request.startswith(method) for request in self.requests)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    state: StandIn

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that refuses the certificate is no error of the server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _handle(self) -> None:
        state, url = self.server.state, urlsplit(self.path)
        key, query = unquote(url.path).partition("/bucket/")[2], parse_qs(url.query, True)
        state.requests.append(f"{self.command} {key}")
        body = self._body()
        if self.command == "PUT" and state.refuses:
            status, code = state.refuses
            self._answer(status, f"<Error><Code>{code}</Code></Error>".encode())
        elif self.command == "PUT" and "partNumber" in query:
            state.parts[int(query["partNumber"][0])] = body
            self._answer(200, etag=state.etag(body))
        elif self.command == "PUT":
            state.objects[key] = (body, self._metadata())
            self._answer(200, etag=state.etag(body))
        elif self.command == "POST" and "uploads" in query:
            state.metadata = self._metadata()
            self._answer(200, b"<R><Bucket>bucket</Bucket><UploadId>one</UploadId></R>")
        elif self.command == "POST":
            whole = b"".join(body for _, body in sorted(state.parts.items()))
            state.objects[key] = (whole, state.metadata)
            state.parts.clear()
            self._answer(200, b"<CompleteMultipartUploadResult/>")
        elif self.command == "DELETE":
            state.objects.pop(key, None)
            self._answer(204)
        elif key in state.objects:
            content, metadata = state.objects[key]
            self._answer(200, content, state.etag(content), metadata)
        elif key:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            self._answer(200, b"<ListMultipartUploadsResult/>")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle

    def _metadata(self) -> dict[str, str]:
        found = {name.lower(): value for name, value in self.headers.items()}
        return {name: value for name, value in found.items() if name.startswith(_META)}

    def _answer(
        self,
        status: int,
        content: bytes = b"",
        etag: str = "",
        metadata: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if etag:
            self.send_header("ETag", f'"{etag}"')
        for name, value in (metadata or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = bytearray()
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            content = bytes(body)
        else:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        state = self.server.state
        if "aws-chunked" in self.headers.get("Content-Encoding", "") and state.decodes:
            content = _decoded(content)
        return state.damage(content) if self.command == "PUT" else content


def _decoded(framed: bytes) -> bytes:
    """Removes the framing of ``aws-chunked``: sizes in hex before each chunk, and trailers."""
    content = b""
    while match := re.match(rb"([0-9a-f]+)(;[^\r]*)?\r\n", framed):
        size = int(match[1], 16)
        if not size:
            break
        content += framed[match.end() : match.end() + size]
        framed = framed[match.end() + size + 2 :]
    return content


@contextmanager
def s3_stand_in(certificate: Path | None = None) -> Iterator[StandIn]:
    """Runs the server on loopback.

    Args:
        certificate: a file of `make_certificate`; if given, the server speaks TLS.
    """
    server = _Server(("127.0.0.1", 0), _Handler)
    server.state = StandIn(f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}")
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        # The handshake is made in the thread of the connection.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
