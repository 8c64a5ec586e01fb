"""Runs the trainer as Airflow's launchers do: input by environment variables, then an exit code."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_READ_ONLY = (
    'mount --bind "$0" "$0" && mount -o remount,bind,ro / && cd "$0" && exec "$@"  # $0: scratch'
)


class Trainer:
    """A trainer, of which each run is a new process.

    Attributes:
        read_only: whether everything but its folder for temporary files is read-only.
    """

    read_only: bool

    def start(
        self, environment: Mapping[str, str], *arguments: str
    ) -> tuple[subprocess.Popen[str], str]:
        """Starts the process; returns it and the name to pass to `terminate`."""
        raise NotImplementedError

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """Runs code with the trainer's interpreter, with the same confinement."""
        raise NotImplementedError

    def terminate(self, process: subprocess.Popen[str], name: str) -> None:
        """Sends SIGTERM, as Kubernetes does."""
        raise NotImplementedError

    def run(self, environment: Mapping[str, str], *arguments: str) -> tuple[int, str]:
        """Runs the trainer; returns its exit code and output."""
        process, _ = self.start(environment, *arguments)
        with process:
            out, _ = process.communicate(timeout=900)
        return process.returncode, out


@dataclass
class LocalTrainer(Trainer):
    """The trainer in the tests' environment; with a read-only root if namespaces are allowed."""

    scratch: Path

    def __post_init__(self) -> None:
        probe = ["sh", "-c", "! touch /read-only-probe 2>/dev/null"]
        self.read_only = False
        if shutil.which("unshare"):
            confined = [*self._confinement(), *probe]
            done = subprocess.run(confined, capture_output=True, check=False)
            self.read_only = done.returncode == 0

    def _confinement(self) -> list[str]:
        user = [] if os.getuid() == 0 else ["--map-root-user"]
        return ["unshare", *user, "--mount", "sh", "-c", _READ_ONLY, str(self.scratch)]

    def _command(self, *arguments: str) -> list[str]:
        return [*(self._confinement() if self.read_only else []), sys.executable, *arguments]

    def start(
        self, environment: Mapping[str, str], *arguments: str
    ) -> tuple[subprocess.Popen[str], str]:
        folders = {"HOME": str(self.scratch), "TMPDIR": str(self.scratch)}
        variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **folders, **environment}
        return _popen(self._command("-m", "trainer", *arguments), variables), ""

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        command = self._command("-c", code)
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def terminate(self, process: subprocess.Popen[str], name: str) -> None:
        process.send_signal(signal.SIGTERM)


@dataclass
class ImageTrainer(Trainer):
    """A container of the image, with the rights that trainer-pod.yaml gives the pod."""

    engine: str
    image: str
    read_only = True

    def _command(self, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        return [
            *(self.engine, "run", "--rm", "--pull=never", "--network=host"),
            *("--read-only", "--tmpfs=/tmp:rw,size=1g", "--user=10001:10001", "--cap-drop=ALL"),
            *("--security-opt=no-new-privileges", *options, self.image, *arguments),
        ]

    def start(
        self, environment: Mapping[str, str], *arguments: str
    ) -> tuple[subprocess.Popen[str], str]:
        name = f"recsys-contract-{uuid.uuid4().hex[:12]}"
        # Pass names only: values in the argument list are visible to all users of the machine.
        variables = [f"--env={variable}" for variable in environment]
        command = self._command(*arguments, options=[f"--name={name}", *variables])
        return _popen(command, {**os.environ, **environment}), name

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        command = self._command("-c", code, options=["--entrypoint=python"])
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def terminate(self, process: subprocess.Popen[str], name: str) -> None:
        command = [self.engine, "kill", "--signal=TERM", name]
        subprocess.run(command, check=True, capture_output=True)

    def config(self) -> str:
        """Returns the image's configuration as JSON."""
        command = [self.engine, "image", "inspect", "--format", "{{json .Config}}", self.image]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _popen(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
