"""Checks of connections: each is used as the pipeline uses it, and nothing is left behind.

A check of a bucket writes, reads and deletes an object below a random key. A process that is killed
in between leaves that object; the next check deletes it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from psycopg import sql

from recsys import contract, database, ledger, vectors
from recsys.contract import INBOX_PREFIX, LIVE_SCHEMA
from recsys.database import Connection, PostgresSettings
from recsys.errors import ConfigurationError, RecsysError, ServiceUnavailableError
from recsys.object_store import ObjectStore, S3Settings
from recsys.services import Services

CHECKS_FOLDER: Final = "checks/"
"""Objects of checks. Not part of the contract: no other image needs it."""
LEFTOVER_AGE: Final = timedelta(hours=1)
"""Longer than a check may take, so that no check deletes the object of another one."""
_QUERY: Final = """
select id from (values (1, '[1,0,0]'::vector), (2, '[0,1,0]'::vector)) as known (id, vector)
order by vector <=> '[0.1,0.9,0]'::vector limit 1
"""


@dataclass(frozen=True)
class ConnectionCheck:
    """Result of the check of one connection.

    Attributes:
        name: the connection as its administrator knows it.
        address: where it leads, without credentials; empty if it could not be read.
        tried: the steps in order; the last one failed if there is a problem.
        found: what the last step showed; empty if it failed.
        problem: what failed and what to do about it; None if all works.
    """

    name: str
    address: str
    tried: tuple[str, ...]
    found: str
    problem: str | None

    @property
    def works(self) -> bool:
        """Whether every step succeeded."""
        return self.problem is None

    def __str__(self) -> str:
        where = f" ({self.address})" if self.address else ""
        steps = ", ".join(self.tried)
        if self.problem is None:
            return f"{self.name}{where} works; tried: {steps}; found: {self.found}"
        return f"{self.name}{where} failed; tried: {steps}; {self.problem}"

    def document(self) -> dict[str, Any]:
        """Returns the result as a JSON document."""
        return {
            "name": self.name,
            "works": self.works,
            "address": self.address,
            "tried": list(self.tried),
            "found": self.found,
            "problem": self.problem,
        }


@dataclass
class Attempt:
    """The check of a connection while it runs.

    Attributes:
        address: where the connection leads, without credentials.
        tried: the steps so far.
    """

    address: str = ""
    tried: list[str] = field(default_factory=list)

    def step(self, name: str) -> None:
        """Notes that a step begins."""
        self.tried.append(name)


Probe = Callable[[Attempt], str]
"""Uses a connection; returns what it found, or raises a RecsysError."""


def check_connection(name: str, probe: Probe) -> ConnectionCheck:
    """Runs one check; an error of the domain is its result.

    Args:
        name: the connection.
        probe: uses it.
    """
    attempt = Attempt()
    try:
        found, problem = probe(attempt), None
    except RecsysError as error:
        found, problem = "", str(error)
    return ConnectionCheck(name, attempt.address, tuple(attempt.tried), found, problem)


def bucket_probe(
    settings: Callable[[], S3Settings], folder: str = "", *, writes: bool = True
) -> Probe:
    """Makes the check of a bucket: it exists, and an object can be written, read and deleted.

    Args:
        settings: reads the connection.
        folder: prefix that the account may write to, ending in a slash.
        writes: False for an account that may only read what is public. It need not be able to list
            the bucket.
    """

    def probe(attempt: Attempt) -> str:
        attempt.step("read the connection")
        given = settings()
        store = ObjectStore.connect(given)
        attempt.address = f"bucket {store.location} at {given.endpoint or 'AWS'}"
        if not writes:
            return _read_pointer(store, attempt)
        attempt.step("find the bucket")
        store.check()
        return _use_bucket(store, folder + CHECKS_FOLDER, attempt)

    return probe


def _read_pointer(store: ObjectStore, attempt: Attempt) -> str:
    attempt.step(f"read {contract.PUBLIC_POINTER_KEY}")
    pointer = store.find_bytes(contract.PUBLIC_POINTER_KEY)
    return "no release is live" if pointer is None else f"{len(pointer)} bytes"


def _use_bucket(store: ObjectStore, prefix: str, attempt: Attempt) -> str:
    key, content = prefix + secrets.token_hex(16), secrets.token_bytes(64)
    try:
        attempt.step("write an object")
        store.put_bytes(key, content)
        attempt.step("read it")
        if store.get_bytes(key) != content:
            raise ServiceUnavailableError(
                "the object store returned other bytes than were written",
                found=f"{key} with another content",
                expected=f"the {len(content)} bytes that were written",
                hint="look for a cache or proxy between, and at the log of the object store",
            )
    except BaseException:
        # A write whose answer was lost may have succeeded. The first error is the one to report.
        _try_to_delete(store, key)
        raise
    attempt.step("delete it")
    store.delete([key])
    if store.head(key) is not None:
        raise ConfigurationError(
            "the object store keeps an object that was deleted",
            found=key,
            expected="no such object",
            hint="look for a cache, proxy or retention lock of the bucket",
        )
    left = [each.key for each in store.objects(prefix) if _is_left(each.modified)]
    store.delete(left)
    return f"the same {len(content)} bytes, and nothing after deleting them"


def _is_left(modified: datetime) -> bool:
    return datetime.now(UTC) - modified > LEFTOVER_AGE


def _try_to_delete(store: ObjectStore, key: str) -> None:
    try:
        store.delete([key])
    except RecsysError:
        # The next check deletes it.
        return


def database_probe(settings: Callable[[], PostgresSettings], *, writes: bool = True) -> Probe:
    """Makes the check of a database: pgvector answers a query of nearest neighbors.

    Args:
        settings: reads the connection.
        writes: whether the account must be able to make the ledger; tried in a transaction that is
            rolled back.
    """

    def probe(attempt: Attempt) -> str:
        attempt.step("read the connection")
        given = settings()
        given.address()
        attempt.step("connect")
        with database.connect(given) as conn:
            info = conn.info
            attempt.address = f"database {info.dbname} at {info.host}:{info.port} as {info.user}"
            if not writes:
                return _use_vectors(conn, attempt)
            with conn.transaction(force_rollback=True):
                attempt.step("create schema and extension, to be rolled back")
                vectors.enable_vector_extension(conn)
                # A promotion renames schemas, for which the account needs the right to make one.
                name = sql.Identifier(f"recsys_check_{secrets.token_hex(8)}")
                conn.execute(sql.SQL("create schema {}").format(name))
                _write_to_ledger(conn, attempt)
                return _use_vectors(conn, attempt)

    return probe


def _write_to_ledger(conn: Connection, attempt: Attempt) -> None:
    if ledger.applied(conn):
        attempt.step("write to the ledger")
        ledger.check_writable(conn)


def _use_vectors(conn: Connection, attempt: Attempt) -> str:
    attempt.step("query the nearest vector")
    if conn.execute("select to_regtype('vector')").fetchone() == (None,):
        raise ConfigurationError(
            "this session does not find pgvector",
            found=f"no type vector in the database {conn.info.dbname}",
            expected="the extension vector, in a schema of the search path",
            hint="an administrator runs: create extension vector schema public",
        )
    if conn.execute(_QUERY).fetchone() != (2,):
        raise ConfigurationError(
            "pgvector returned the wrong neighbor",
            hint="reinstall pgvector on the server",
        )
    [(version,)] = conn.execute(
        "select extversion from pg_extension where extname = 'vector'"
    ).fetchall()
    return f"pgvector {version}; {_live_neighbor(conn, attempt)}"


def _live_neighbor(conn: Connection, attempt: Attempt) -> str:
    """Queries the live movie vectors, as a reader does, if there are any."""
    table = sql.Identifier(LIVE_SCHEMA, "movie_vectors")
    name = f"{LIVE_SCHEMA}.movie_vectors"
    if conn.execute("select to_regclass(%s)", (name,)).fetchone() == (None,):
        return "no release is live"
    attempt.step("query the live movie vectors")
    query = "select movieid from {0} order by vector <=> (select vector from {0} limit 1) limit 1"
    row = conn.execute(sql.SQL(query).format(table)).fetchone()
    return "no movie is live" if row is None else f"movie {row[0]} in the live vectors"


def check_services(services: Services) -> Sequence[ConnectionCheck]:
    """Checks PostgreSQL and S3 of the environment variables or of the embedded stack."""
    return (
        check_connection("PostgreSQL", database_probe(lambda: services.postgres)),
        check_connection("S3", bucket_probe(lambda: services.s3)),
    )


def trainer_probe(settings: Callable[[], S3Settings]) -> Probe:
    """Makes the check of the trainer's account, which writes to its inbox only."""
    return bucket_probe(settings, INBOX_PREFIX)
