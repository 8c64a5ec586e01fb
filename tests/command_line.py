"""The command `recsys` as people and machines use it, and worlds for it to work on."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from rich.cells import cell_len

from recsys import ledger
from recsys.database import PostgresSettings
from recsys.embedded.home import Home
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from recsys.releases import promote_release
from recsys.services import Services
from tests.actors import an_actor
from tests.conftest import fresh_bucket, fresh_database
from tests.recsys_command import run_recsys
from tests.release_maker import Releases

INHERITED = ("PATH", "HOME", "TMPDIR")


@dataclass(frozen=True)
class Done:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def words(self) -> str:
        """All that it said, on one line, however it was broken into lines."""
        return " ".join((self.out + self.err).split())


@dataclass(frozen=True)
class CommandLine:
    """Runs `recsys` as in a pipe of 80 columns, and checks what holds for all it ever prints."""

    home: Home
    environment: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None

    def __call__(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> Done:
        environment = {
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
            "COLUMNS": "80",
            "LANG": "C.UTF-8",
            "RECSYS_ACTOR": "tester",
            "RECSYS_HOME": str(self.home.path),
            **self.environment,
        }
        done = run_recsys(arguments, environment, stdin=stdin, cwd=self.cwd)
        for text in (done.stdout, done.stderr):
            assert "\x1b" not in text, text
            assert "Traceback" not in text, text
            assert arguments[0] == "env" or self.home.redact(text) == text
            # Where a person answers, the terminal ends the line.
            if stdin == subprocess.DEVNULL and not {"--json", "env"} & set(arguments):
                # A command that is copied into a shell stays on one line.
                lines = [line for line in text.splitlines() if " demo --source " not in line]
                assert [line for line in lines if cell_len(line) > 80] == []
        return Done(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class World:
    """An empty database and bucket, the command that uses them, and a maker of releases."""

    recsys: CommandLine
    services: Services
    releases: Releases

    def promoted(self, *numbers: int) -> list[str]:
        """Makes candidates and promotes one after the other; returns their ids."""
        ids = []
        for number in numbers:
            ids.append(self.releases.candidate(number))
            promote_release(self.services, ids[-1], actor=an_actor("t", "it is better"))
        return ids

    def states(self) -> dict[str, str]:
        with self.services.connect() as conn:
            return {r.release_id: r.state.value for r in ledger.all_releases(conn)}


@contextmanager
def new_world(recsys: CommandLine) -> Iterator[World]:
    home = recsys.home
    with fresh_database(Postgres(home)) as dsn, fresh_bucket(S3(home)) as s3:
        services = Services(PostgresSettings(dsn=SecretStr(dsn)), s3)
        command = CommandLine(home, servers(services))
        yield World(command, services, Releases(services))


def servers(services: Services) -> dict[str, str]:
    """The environment that leads to these servers."""
    s3 = services.s3
    assert s3.access_key is not None
    assert s3.secret_key is not None
    return {
        "RECSYS_PG_DSN": services.postgres.dsn.get_secret_value(),
        "RECSYS_S3_BUCKET": s3.bucket,
        "RECSYS_S3_ENDPOINT": s3.endpoint or "",
        "AWS_ACCESS_KEY_ID": s3.access_key.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": s3.secret_key.get_secret_value(),
    }


HOSTILE = "[/b] [red]Fish[/red] & [bold"
TITLES = {1: "Toy Story (1995)", 2: HOSTILE, 3: HOSTILE + " II", 4: "Ran (1985) " * 20}


def id_of(world: World, number: int) -> str:
    return world.releases.build(number).release_id
