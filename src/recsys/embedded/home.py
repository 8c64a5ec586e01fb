"""The home of a stack: one folder with data, secrets, ports, logs and locks."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from recsys.errors import ConfigurationError, ServiceUnavailableError

_LOOPBACK = "127.0.0.1"
# Below Linux's ephemeral ports (32768 and up), even with the 10000 that SeaweedFS adds to a port:
# outgoing connections do not take a stored port between two starts.
_PORT_RANGE = range(10000, 22000)


def _token() -> str:
    return secrets.token_urlsafe(32)


@dataclass(frozen=True)
class Secrets:
    """The random secrets of one stack; ``repr`` shows none of them."""

    postgres_password: str = field(default_factory=_token, repr=False)
    s3_access_key: str = field(default_factory=lambda: secrets.token_hex(10).upper(), repr=False)
    s3_secret_key: str = field(default_factory=_token, repr=False)
    s3_internal_key: str = field(default_factory=_token, repr=False)
    airflow_admin_password: str = field(default_factory=_token, repr=False)
    airflow_jwt_secret: str = field(default_factory=_token, repr=False)
    airflow_api_secret_key: str = field(default_factory=_token, repr=False)
    airflow_fernet_key: str = field(
        default_factory=lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        repr=False,
    )


class Home:
    """The folder of one stack; stacks in different folders share nothing.

    Args:
        path: the folder; by default ``$RECSYS_HOME``, else ``.recsys`` in the project that contains
            the working directory, else ``.recsys`` in the working directory.
    """

    def __init__(self, path: Path | None = None) -> None:
        if path is None:
            configured = os.environ.get("RECSYS_HOME")
            path = Path(configured) if configured else project_folder() / ".recsys"
        self.path = path.expanduser().resolve()

    def folder(self, name: str) -> Path:
        """Returns the folder of a service; creates it with mode 700 if it does not exist."""
        self._make()
        folder = self.path / name
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def secrets(self) -> Secrets:
        """Returns the secrets; generates them at the first call, in a file of mode 600.

        Raises:
            ConfigurationError: the file cannot be parsed.
        """
        self._make()
        path = self.path / "secrets.json"
        if not path.exists():
            _create(path, json.dumps(asdict(Secrets()), indent=1))
        try:
            values = json.loads(path.read_text())
            return Secrets(**{item.name: str(values[item.name]) for item in fields(Secrets)})
        except (ValueError, KeyError, TypeError) as error:
            # The error omits the file's text and the cause: both may contain a secret.
            raise ConfigurationError(
                f"the secrets in {path} cannot be read",
                found=type(error).__name__,
                expected="the JSON object that the first start wrote",
                hint=f"restore the file, or remove {self.path} to start over without its data",
            ) from None

    def redact(self, text: str) -> str:
        """Returns the text with each secret replaced by ``***``."""
        for secret in vars(self.secrets()).values():
            text = text.replace(secret, "***")
        return text

    def ports(self, names: Sequence[str]) -> dict[str, int]:
        """Returns the stored ports by name; chooses and stores those that are missing."""
        return self._ports(names, replace_taken=False)

    def free_ports(self, names: Sequence[str]) -> dict[str, int]:
        """Like `ports`, but replaces a port that is in use by a free one."""
        return self._ports(names, replace_taken=True)

    def forget_ports(self, names: Sequence[str]) -> None:
        """Deletes the stored ports, so that the next call of `ports` chooses new ones."""
        self._make()
        path = self.path / "ports.json"
        with _locked(self.path / "ports.lock"):
            others = {name: port for name, port in _read_ports(path).items() if name not in names}
            write_private(path, json.dumps(others, indent=1, sort_keys=True))

    def source(self) -> str | None:
        """Returns the stored dataset source of the weekly runs, or None if there is none."""
        path = self.path / "source"
        return path.read_text().strip() or None if path.exists() else None

    def remember_source(self, source: str) -> None:
        """Stores the dataset source of the weekly runs."""
        self._make()
        write_private(self.path / "source", source + "\n")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Locks the home, so that starts and stops do not overlap; released if the process dies."""
        self._make()
        with _locked(self.path / "lock"):
            yield

    @contextmanager
    def in_use(self) -> Iterator[Callable[[], bool]]:
        """Counts this process as a user of the stack until the block ends or the process dies.

        Yields:
            a function that ends the use and returns whether there is no other user. Call it once,
            while the home is locked: no one begins a use before the block ends if it returns True.
        """
        self._make()
        descriptor = os.open(self.path / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            yield lambda: _end_use(descriptor)
        finally:
            os.close(descriptor)

    def _ports(self, names: Sequence[str], *, replace_taken: bool) -> dict[str, int]:
        self._make()
        path = self.path / "ports.json"
        with _locked(self.path / "ports.lock"):
            known = _read_ports(path)
            before = dict(known)
            for name in names:
                if name not in known or (replace_taken and not _is_free(known[name])):
                    known[name] = _choose(set(known.values()))
            if known != before:
                write_private(path, json.dumps(known, indent=1, sort_keys=True))
            return {name: known[name] for name in names}

    def _make(self) -> None:
        # 711: if we are root, PostgreSQL runs as another account, which must traverse the folder.
        try:
            self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                "the folder of the embedded stack cannot be made",
                found=f"{self.path}: {error.strerror or error}",
                expected="a folder that this account may write to",
                hint="set RECSYS_HOME to one, or RECSYS_PG_DSN and RECSYS_S3_* to other servers",
            ) from error
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise ConfigurationError(
                "the folder of the embedded stack is read-only for this account",
                found=str(self.path),
                hint="set RECSYS_HOME to another folder",
            )


def project_folder() -> Path:
    """Returns the project's root: the nearest folder upward with ``.recsys`` or the DAGs.

    The working directory if there is none.

    Raises:
        ConfigurationError: the working directory was removed.
    """
    try:
        here = Path.cwd()
    except OSError as error:
        raise ConfigurationError(
            "the working directory cannot be used",
            found=error.strerror or str(error),
            hint="change to another folder",
        ) from error
    for folder in (here, *here.parents):
        if (folder / ".recsys").is_dir() or (folder / "dags" / "recsys_dag").is_dir():
            return folder
    return here


def source_folder() -> Path:
    """Returns the folder with the DAGs and the site: the project's, else this code's own one.

    So a command works in any working directory.
    """
    own = Path(__file__).resolve().parents[3]
    for folder in (project_folder(), own):
        if (folder / "dags" / "recsys_dag").is_dir():
            return folder
    return project_folder()


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: a port with connections in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True


def _choose(taken: set[int]) -> int:
    for port in secrets.SystemRandom().sample(_PORT_RANGE, 200):
        if port not in taken and _is_free(port):
            return port
    raise ServiceUnavailableError(
        "no free port for the embedded stack",
        expected=f"one of {_PORT_RANGE.start}..{_PORT_RANGE.stop - 1} free on {_LOOPBACK}",
        hint="stop the programs that listen on these ports",
    )


def _read_ports(path: Path) -> dict[str, int]:
    try:
        return {str(name): int(port) for name, port in json.loads(path.read_text()).items()}
    except (FileNotFoundError, ValueError, AttributeError):
        return {}  # New ports are chosen.


def _write(path: Path, text: str) -> Path:
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return partial


def _create(path: Path, text: str) -> None:
    """Creates a private file atomically, unless another process created it first."""
    partial = _write(path, text)
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    finally:
        partial.unlink()


def write_private(path: Path, text: str) -> None:
    """Writes a file of mode 600 atomically."""
    _write(path, text).replace(path)


def _end_use(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        # A failed conversion may leave the shared lock, and then nobody would be the last user.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
