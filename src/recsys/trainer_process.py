"""The trainer as a local process: started exactly as its image would start it."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recsys import contract
from recsys.contract import ExitCode, TrainerInput
from recsys.errors import ConfigurationError, TrainingError, TransientError

log = logging.getLogger(__name__)

SHARED_MODULES: Final = ("__init__.py", "contract", "errors.py", "evaluation", "object_store.py")
"""Modules and packages of ``src/recsys`` that the trainer's image copies, and nothing else of it.

docker/trainer/Dockerfile and the trainer's workflow repeat the list; a test compares them.
"""
_PASSED_ON: Final = frozenset(
    "PATH HOME TMPDIR LANG LC_ALL TZ HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy "
    "no_proxy SSL_CERT_FILE AWS_CA_BUNDLE REQUESTS_CA_BUNDLE RECSYS_CODE_REVISION "
    "RECSYS_SITE_KERAS".split()
)
_TAIL_LINES: Final = 20
_GRACE_S: Final = 20
# The trainer must not outlive the task that started it, not even when that is killed with -9.
_TIED_TO_PARENT: Final = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(143)
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True)
class LocalTrainer:
    """Where the trainer's environment and sources are on this machine.

    Attributes:
        python: the interpreter of the trainer's own locked environment.
        root: the folder that holds ``trainer/`` and ``src/recsys/``.
    """

    python: Path
    root: Path

    def digest(self) -> str:
        """Stands for the image's digest: a hash of all that would go into the image."""
        trainer = self.root / "trainer"
        files = [
            *(p for p in trainer.rglob("*.py") if ".venv" not in p.parts),
            trainer / "uv.lock",
            *_shared_files(self.root / "src" / "recsys"),
        ]
        digest = hashlib.sha256()
        for path in sorted(files):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(self.root).as_posix()}\0{content}\n".encode())
        return f"sha256:{digest.hexdigest()}"

    def run(
        self,
        subcommand: str,
        given: TrainerInput,
        secrets: Mapping[str, str],
        on_line: Callable[[str], None] = log.info,
    ) -> None:
        """Runs ``python -m trainer <subcommand>`` to its end, passing its output on line by line.

        Args:
            subcommand: ``train`` or ``verify``.
            given: the trainer's input, passed as environment variables.
            secrets: values of `contract.SECRET_ENV`, passed in the environment only.
            on_line: called with each line that the trainer prints.

        Raises:
            ConfigurationError: there is no such interpreter.
            TrainingError: it ended with an exit code that another try will not mend.
            TransientError: it ended with one that another try may mend, or was killed.
        """
        told = {k: v for k, v in secrets.items() if k in contract.SECRET_ENV}
        self.run_command([subcommand], given.to_environment() | told, on_line)

    def run_command(
        self,
        arguments: Sequence[str],
        told: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] = log.info,
    ) -> None:
        """Runs ``python -m trainer <arguments>``; ``told`` are further environment variables."""
        if not self.python.exists():
            raise ConfigurationError(
                "the trainer's environment is missing",
                expected=str(self.python),
                hint="run `make setup`, or set RECSYS_TRAINER_PYTHON",
            )
        environment = {k: v for k, v in os.environ.items() if k in _PASSED_ON}
        environment |= told or {}
        environment |= {"PYTHONPATH": str(self.root), "PYTHONUNBUFFERED": "1"}
        command = [str(self.python), "-m", "trainer", *arguments]
        code, tail = run_tied(command, self.root, environment, on_line)
        if code != ExitCode.OK:
            raise failure(arguments[0], code, tail)


def _shared_files(package: Path) -> Iterator[Path]:
    for name in SHARED_MODULES:
        path = package / name
        yield from path.rglob("*.py") if path.is_dir() else (path,)


def run_tied(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    on_line: Callable[[str], None],
) -> tuple[int, deque[str]]:
    """Runs a command to its end; it and its children do not outlive this process.

    Args:
        command: of ours; nothing of it is input.
        folder: where it runs.
        environment: all of its variables.
        on_line: called with each line that it prints.

    Returns:
        Its exit code, and the last lines.
    """
    process = subprocess.Popen(  # noqa: S603  the command is ours; nothing of it is input
        [sys.executable, "-c", _TIED_TO_PARENT, str(os.getpid()), *command],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    try:
        for line in process.stdout or ():
            tail.append(line.rstrip())
            on_line(line.rstrip())
        return process.wait(), tail
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Ends the trainer and its children, if they still run: first politely."""
    if process.poll() is not None:
        return
    for number, wait_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)
            process.wait(wait_s)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def failure(subcommand: str, code: int, tail: Iterable[str]) -> TrainingError | TransientError:
    """What the trainer's exit code means, wherever it ran.

    Args:
        subcommand: what it was told to do.
        code: its exit code; negative: the signal that ended it.
        tail: its last lines.
    """
    if code < 0:
        found = f"killed by signal {-code} ({signal.strsignal(-code)})"
    else:
        name = {member.value: member.name for member in ExitCode}.get(code, "not in the contract")
        found = f"exit code {code} ({name})"
    hint = "its last lines: " + " | ".join(tail)
    if contract.exit_is_transient(code):
        return TransientError(
            f"the trainer's `{subcommand}` did not finish", found=found, hint=hint
        )
    return TrainingError(f"the trainer's `{subcommand}` failed", found=found, hint=hint)
