"""A primary and a streaming standby, both real servers of the embedded PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from recsys.embedded.home import Home
from recsys.embedded.postgres import Postgres, postgres_program
from recsys.embedded.processes import Command


class Primary(Postgres):
    """The embedded server, with write-ahead logs that a standby can use."""

    def command(self) -> Command:
        usual = super().command()
        more = ["-c", "wal_level=replica", "-c", "max_wal_senders=4", "-c", "shared_buffers=32MB"]
        return replace(usual, arguments=[*usual.arguments, *more])


class Standby(Primary):
    """A copy of a primary that follows it; its password is the primary's.

    Args:
        home: an empty folder.
        primary: a running primary.
    """

    def __init__(self, home: Home, primary: Primary) -> None:
        super().__init__(home)
        self.primary = primary
        shutil.copy(primary.home.path / "secrets.json", home.path / "secrets.json")

    def _init(self, account: tuple[int, int] | None) -> None:
        self.data.mkdir(mode=0o700)
        if account is not None:
            os.chown(self.data, *account)
        arguments = ("-D", str(self.data), "-R", "-X", "stream", "--checkpoint=fast")
        program = str(postgres_program("pg_basebackup"))
        command, account = self._reachable(
            [program, *arguments, "-d", self.primary.dsn("postgres")], account
        )
        user, group = account or (None, None)
        subprocess.run(
            command,
            cwd="/",
            user=user,
            group=group,
            check=True,
        )


@contextmanager
def primary_and_standby(folder: Path) -> Iterator[tuple[Primary, Standby]]:
    """Runs both."""
    primary = Primary(Home(folder / "primary"))
    with running(primary):
        standby = Standby(Home(folder / "standby"), primary)
        with running(standby):
            yield primary, standby


@contextmanager
def running(server: Postgres) -> Iterator[None]:
    with server.home.lock():
        server.start()
    try:
        yield
    finally:
        with server.home.lock():
            server.stop()
