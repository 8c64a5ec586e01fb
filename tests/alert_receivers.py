"""Receivers of alerts, and events to send."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pydantic import SecretStr

from recsys import alerts, ledger
from recsys.alerts import AlertSettings
from recsys.ledger import Action, State
from recsys.services import Services
from tests.actors import an_actor


class Receiver:
    """An HTTP server that stores requests; responds with ``status``, or closes if it is None."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.status: int | None = 200
        self.when_received: Callable[[], None] = lambda: None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                outer.got.append((self.path, dict(self.headers), body))
                outer.when_received()
                if outer.status is None:
                    return
                self.send_response(outer.status)
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook/tok3n"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.got]


class Mailbox:
    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.when_received: Callable[[], None] = lambda: None

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.messages.append((envelope.rcpt_tos, message_from_bytes(envelope.content)))
        self.when_received()
        return "250 OK"


def webhook(receiver: Receiver, **settings: Any) -> AlertSettings:
    return AlertSettings(webhook_url=SecretStr(receiver.url), **settings)


def note_failure(services: Services, settings: AlertSettings) -> None:
    alerts.note_run(
        services,
        settings,
        Action.RUN_FAILED,
        run_id="manual__1",
        dag_id="movie_rec_sys",
        reason="task failed",
    )


def reject(services: Services, release_id: str, reason: str = "too bad") -> None:
    with services.connect() as conn:
        ledger.move(conn, release_id, State.REJECTED, actor=an_actor("gate", reason))
