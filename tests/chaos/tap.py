"""Where every call to PostgreSQL and S3 can be counted, failed, or made the last.

The taps sit below all of our code and most of the drivers': each round trip of psycopg passes
through ``Connection.wait``, each HTTP request of boto3 through its session's ``send``. So a new
statement or request cannot be forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from recsys.object_store import ObjectStore

_ID = re.compile(r"[0-9a-f]{8}[-_][0-9a-f]{8}")
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Call:
    """One round trip.

    Attributes:
        service: ``sql`` or ``s3``.
        name: the statement or request, without what differs between releases.
        phase: the step that the operation had reached.
        turn: how many calls of this name the phase has made before.
    """

    service: str
    name: str
    phase: str
    turn: int

    @property
    def is_commit(self) -> bool:
        return self.name == "commit"

    @property
    def has_transaction_control(self) -> bool:
        return self.service == "sql" and self.name in ("begin", "commit", "rollback")


@dataclass
class Tap:
    """Passes all calls on; see `Fault` and the child process for what else may be done to them.

    As a trace it notes the steps, which are the phases of the calls.
    """

    store: ObjectStore
    phase: str = "begun"
    steps: list[str] = field(default_factory=list)
    _turns: dict[tuple[str, str], int] = field(default_factory=dict)
    _undo: list[Callable[[], None]] = field(default_factory=list)

    def trace(self, step: str) -> None:
        self.steps.append(step)
        self.phase = step

    def sql(self, call: Call, conn: Any, gen: Any, proceed: Callable[[], Any]) -> Any:
        return proceed()

    def s3(self, call: Call, request: Any, proceed: Callable[[], Any]) -> Any:
        return proceed()

    def __enter__(self) -> Tap:
        wait = psycopg.Connection.wait
        session = self.store._client._endpoint.http_session
        send = session.send
        tap = self

        def tapped_wait(conn: Any, gen: Any, *args: Any, **options: Any) -> Any:
            def proceed() -> Any:
                return wait(conn, gen, *args, **options)

            name = statement(gen) if _is_ours(conn) else None
            return (
                proceed() if name is None else tap.sql(tap._call("sql", name), conn, gen, proceed)
            )

        def tapped_send(request: Any) -> Any:
            name = f"{request.method} {_plain(request.url.split('/', 4)[-1])}"
            return tap.s3(tap._call("s3", name), request, lambda: send(request))

        psycopg.Connection.wait = tapped_wait  # type: ignore[method-assign]
        session.send = tapped_send
        self._undo = [
            lambda: setattr(psycopg.Connection, "wait", wait),
            lambda: setattr(session, "send", send),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for undo in self._undo:
            undo()

    def _call(self, service: str, name: str) -> Call:
        turn = self._turns.get((self.phase, name), 0)
        self._turns[self.phase, name] = turn + 1
        return Call(service, name, self.phase, turn)


def _is_ours(conn: Any) -> bool:
    """Whether it is a connection of the ledger, and not one that a test made."""
    if conn.pgconn.status != psycopg.pq.ConnStatus.OK:
        return False
    return conn.info.parameter_status("application_name") == "recsys"


def statement(gen: Any) -> str | None:
    """What a generator of psycopg is about to send; None if it sends nothing."""
    kind, values = gen.gi_code.co_name, gen.gi_frame.f_locals
    if kind == "_commit_gen":
        # Closing a connection in autocommit mode.
        return None
    if kind == "_enter_gen":
        return "begin"
    if kind == "_exit_gen":
        return "commit" if values["exc_type"] is None else "rollback"
    query = values.get("query", kind)
    if isinstance(query, sql.Composable):
        query = query.as_string(None)
    return _plain(str(query))


def _plain(text: str) -> str:
    return _MD5.sub("<md5>", _ID.sub("<id>", text))[:120]
