"""Real local servers that record what they receive: a webhook receiver and a StatsD server."""

from __future__ import annotations

import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Webhook:
    """Keeps the JSON documents that it is sent, and counts what it is asked besides."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []
        self.pings = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                outer.documents.append(json.loads(body))
                self.send_response(200)
                self.end_headers()

            def do_GET(self) -> None:
                outer.pings += 1
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def __enter__(self) -> Webhook:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def about(self, run_id: str) -> list[str]:
        """Kinds of the alerts about one run."""
        return [d["kind"] for d in self.documents if d["facts"].get("run") == run_id]


class StatsD:
    """Keeps the lines that it is sent."""

    _LINE = re.compile(
        r"(?P<name>[^,:|]+)(?:,(?P<tags>[^:|]*))?:(?P<value>[^|]+)\|(?P<kind>\w+)(?:\|@[\d.]+)?"
    )

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.port = self._socket.getsockname()[1]
        self._lines: list[str] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> StatsD:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                self._lines += self._socket.recv(65_536).decode().splitlines()
            except TimeoutError:
                if self._ended.is_set():
                    return

    @property
    def samples(self) -> list[tuple[str, dict[str, str], str, str]]:
        """Name, tags, value and kind of each line."""
        found = [self._LINE.fullmatch(line) for line in self._lines]
        assert all(found), [
            line for line, match in zip(self._lines, found, strict=True) if not match
        ]
        return [
            (
                m["name"],
                dict(t.split("=") for t in (m["tags"] or "").split(",") if t),
                m["value"],
                m["kind"],
            )
            for m in found
            if m
        ]
