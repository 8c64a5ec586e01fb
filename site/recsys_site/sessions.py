"""Sessions of the database: their settings, with and without a connection pooler between.

A direct connection gets the settings once. A pooler in transaction mode gives each transaction
another session, which it then gives to other clients, and refuses settings in the startup packet
(PgBouncer before 1.20). There, each request is one transaction with settings of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg

from recsys_site.answers import SEARCH_WIDTH
from recsys_site.obstacles import explained_connection, explained_rights
from release_reader import is_pooled

# Administrators set limits for accounts. What the site relies on is therefore set in each session.
_SETTINGS: Final = {
    # A statement that takes longer would make its request time out.
    "statement_timeout": "5s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",
    "default_transaction_isolation": "read committed",
    # Searches return rows in the exact order of distance, and continue until there are enough.
    "hnsw.iterative_scan": "strict_order",
    "hnsw.ef_search": str(SEARCH_WIDTH),
}
_CONNECTION_SETTINGS: Final = {
    "default_transaction_read_only": "on",
    # The session that waits for promotions is idle for long.
    "idle_session_timeout": "0",
}
OPTIONS: Final[dict[str, Any]] = {
    "autocommit": True,
    "connect_timeout": 3,
    "application_name": "recsys site",
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""Arguments of each connection."""


class Session(psycopg.Connection[Any]):
    """A read-only connection.

    Attributes:
        pooled: whether a pooler is between.
    """

    pooled: bool = False


def begin_session(session: Session) -> None:
    """Prepares a new connection; a pool calls it as ``configure``."""
    session.read_only = True
    session.pooled = is_pooled(session)
    if session.pooled:
        session.prepare_threshold = None
        # A pooler in statement mode refuses this.
        with session.transaction():
            session.execute("select")
    else:
        newer = {"transaction_timeout": "0"} if session.info.server_version >= 170_000 else {}
        _set(session, _SETTINGS | _CONNECTION_SETTINGS | newer, local=False)


@contextmanager
def request_settings(session: Session) -> Iterator[None]:
    """Gives the statements inside the settings of the site."""
    if not session.pooled:
        yield
        return
    with session.transaction():
        _set(session, _SETTINGS, local=True)
        yield


@contextmanager
def open_session(dsn: str, tables: Iterable[str] = ()) -> Iterator[Session]:
    """Opens a connection of its own, without a pool.

    Args:
        dsn: the database and the account.
        tables: tables that it is for; an error says which grants on them the account lacks.
    """
    with explained_connection(dsn), Session.connect(dsn, **OPTIONS) as session:
        begin_session(session)
        with explained_rights(session, list(tables)):
            yield session


def _set(session: Session, settings: dict[str, str], *, local: bool) -> None:
    calls = ", ".join(["set_config(%s, %s, %s)"] * len(settings))
    values = [part for setting in settings.items() for part in (*setting, local)]
    session.execute(f"select {calls}", values)
