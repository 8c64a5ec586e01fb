"""What may happen to one call, by real means where they are cheap.

A refused connection is a closed port, a broken answer comes from a server that breaks it, a lost
session was terminated, an SQLSTATE is raised by PostgreSQL itself in the transaction that it hits.
"""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from tests.chaos.tap import Call, Tap

SQL_FAULTS: Final = (
    "connection lost before",
    "connection lost after",
    "40001 serialization failure",
    "55P03 lock timeout",
    "53100 disk full",
    "57014 statement timeout",
)
S3_FAULTS: Final = ("refused", "time out", "answer lost", "503 slow down", "reset in the middle")


class _Broken(socketserver.BaseRequestHandler):
    """Answers as the first part of the path says, then breaks the connection."""

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head and (piece := self.request.recv(4096)):
            head += piece
        if head.split(b" ")[1].startswith(b"/slow-down"):
            body = b"<Error><Code>SlowDown</Code><Message>Please reduce your rate</Message></Error>"
            self.request.sendall(
                b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            return
        if head.startswith(b"GET"):
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf an an")
        # Closing with linger 0 sends a reset instead of an orderly end.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextmanager
def broken_s3() -> Iterator[str]:
    """The URL of a server that answers nothing well."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Broken) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextmanager
def closed_port() -> Iterator[int]:
    """A port of this machine that refuses connections: bound, and nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@dataclass
class Fault(Tap):
    """Fails one call, the how many-th of a service, or that and all that follow.

    Attributes:
        kind: one of `SQL_FAULTS` or `S3_FAULTS`, or ``outage``.
        service: whose calls are counted.
        nth: which call is failed, from 1; repetitions of a statement count once.
        terminate: ends a session of PostgreSQL from outside.
        broken_url: see `broken_s3`.
        closed: see `closed_port`.
    """

    kind: str = ""
    service: str = "sql"
    nth: int = 0
    terminate: Callable[[int], None] = lambda pid: None
    broken_url: str = ""
    closed: int = 0
    hit: Call | None = None
    _calls: int = field(default=0, init=False)

    def sql(self, call: Call, conn: Any, gen: Any, proceed: Callable[[], Any]) -> Any:
        if not self._is_hit(call):
            return proceed()
        if self.kind in ("connection lost before", "outage"):
            self.terminate(conn.info.backend_pid)
            return proceed()
        if self.kind == "connection lost after":
            proceed()
            self.terminate(conn.info.backend_pid)
            conn.pgconn.finish()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        error = _raise_on_server(conn, self.kind.split()[0])
        if call.is_commit:
            # What fails at commit is rolled back by the server, which committing now does too.
            proceed()
        raise error

    def s3(self, call: Call, request: Any, proceed: Callable[[], Any]) -> Any:
        if not self._is_hit(call):
            return proceed()
        if self.kind in ("refused", "outage"):
            request.url = f"http://127.0.0.1:{self.closed}/"
        elif self.kind == "503 slow down":
            request.url = f"{self.broken_url}/slow-down"
        elif self.kind == "reset in the middle":
            request.url = f"{self.broken_url}/reset"
        elif self.kind == "time out":
            raise ReadTimeoutError(endpoint_url=request.url)
        elif self.kind == "answer lost":
            proceed()
            raise ConnectionClosedError(endpoint_url=request.url)
        return proceed()

    def _is_hit(self, call: Call) -> bool:
        if call.service != self.service:
            return False
        if self.kind == "outage" and self.hit:
            return True
        if call.service == "sql" and call.turn and not call.has_transaction_control:
            return False
        if self.kind[:1].isdigit() and call.name in ("begin", "rollback"):
            # These fail only with their connection.
            return False
        self._calls += call.name != "rollback"
        if self._calls != self.nth or self.hit:
            return False
        self.hit = call
        return True


def _raise_on_server(conn: Any, sqlstate: str) -> psycopg.Error:
    """Has the server raise an error in the session's present transaction."""
    command = f"do $$ begin raise exception 'injected' using errcode = '{sqlstate}'; end $$"
    try:
        conn.wait(_only(conn._exec_command(command.encode())))
    except psycopg.Error as error:
        return error
    raise AssertionError(f"{sqlstate} was not raised")


def _only(gen: Any) -> Any:
    """Wraps a generator so that the tap takes it for none of the protocol's calls."""

    def _commit_gen() -> Any:
        return (yield from gen)

    return _commit_gen()
