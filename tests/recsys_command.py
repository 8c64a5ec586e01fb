"""Runs the command `recsys`: its first call as the installed script, later ones as forks.

Starting Python and importing the command's libraries costs a second of CPU time, more than most
commands need. A server process imports them once and forks for each call. The fork is a process of
its own: it has the call's environment, folder and streams, and it ends with the command's exit
code.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

RECSYS: Final = Path(sys.executable).with_name("recsys")
_PRELOADED: Final = (
    "boto3",
    "botocore.config",
    "jinja2",
    "numpy",
    "psycopg",
    "rich.table",
    "typer.rich_utils",
    "recsys.alerts",
    "recsys.cli.app",
    "recsys.ledger",
    "recsys.monitoring",
    "recsys.releases",
)
"""Not polars: it has threads after its import, and threads do not survive a fork."""
_FILE_DESCRIPTORS: Final = 3
_LARGEST_REQUEST: Final = 1 << 20


class RecsysCommand:
    """Runs `recsys` with a given environment and folder."""

    def __init__(self) -> None:
        self._started: set[str] = set()
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """Ends the server process."""
        if self._server is not None and self._connection is not None:
            self._connection.close()
            self._server.wait()

    def __call__(
        self,
        arguments: tuple[str, ...],
        env: Mapping[str, str],
        stdin: int = subprocess.DEVNULL,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs the command and waits for its end.

        Args:
            arguments: its arguments; the first one is the subcommand.
            env: its whole environment.
            stdin: its standard input, as for `subprocess.run`.
            cwd: its working directory; by default that of this process.

        Returns:
            Exit code and output; a fork's exit code after a signal is negative, as that of
            `subprocess.run`.
        """
        with self._lock:
            first = arguments[0] not in self._started
            self._started.add(arguments[0])
        run = self._run_script if first else self._run_fork
        return run(arguments, env, stdin, cwd or Path.cwd())

    def _run_script(
        self, arguments: tuple[str, ...], env: Mapping[str, str], stdin: int, cwd: Path
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [RECSYS, *arguments],
            env=dict(env),
            stdin=stdin,
            cwd=cwd,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )

    def _run_fork(
        self, arguments: tuple[str, ...], env: Mapping[str, str], stdin: int, cwd: Path
    ) -> subprocess.CompletedProcess[str]:
        request = json.dumps({"arguments": arguments, "env": dict(env), "cwd": str(cwd)}).encode()
        assert len(request) < _LARGEST_REQUEST
        texts = ["", ""]
        with self._lock, open(os.devnull, "rb") as null:
            pipes = [os.pipe(), os.pipe()]
            given = null.fileno() if stdin == subprocess.DEVNULL else stdin
            connection = self._connect()
            socket.send_fds(connection, [request], [given, *(write for _, write in pipes)])
            for _, write in pipes:
                os.close(write)

            def read(number: int) -> None:
                with open(pipes[number][0], encoding="utf-8") as stream:
                    texts[number] = stream.read()

            readers = [threading.Thread(target=read, args=(number,)) for number in range(2)]
            for reader in readers:
                reader.start()
            for reader in readers:
                reader.join()
            answer = connection.recv(64)
        assert answer, "the server process of `recsys` ended"
        return subprocess.CompletedProcess([RECSYS, *arguments], int(answer), *texts)

    def _connect(self) -> socket.socket:
        if self._connection is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            # Requests with an environment are longer than a socket's default buffer.
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LARGEST_REQUEST)
            with theirs:
                self._server = subprocess.Popen(
                    [sys.executable, "-m", "tests.recsys_command", str(theirs.fileno())],
                    cwd=Path(__file__).resolve().parents[1],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                )
            self._connection = ours
            atexit.register(self.close)
        return self._connection


run_recsys: Final = RecsysCommand()
"""The one of this test process."""


def serve(connection: socket.socket) -> None:
    """Runs one command after the other, each in a fork, until the connection is closed."""
    for name in _PRELOADED:
        importlib.import_module(name)
    while True:
        request, descriptors, _, _ = socket.recv_fds(
            connection, _LARGEST_REQUEST, _FILE_DESCRIPTORS
        )
        if not request:
            return
        child = os.fork()
        if child == 0:
            connection.close()
            _become(json.loads(request), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        _, status = os.waitpid(child, 0)
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(request: dict, descriptors: list[int]) -> None:
    """Runs a command in this process, which ends with it."""
    from recsys.cli.app import main

    code = 1
    try:
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        sys.argv = [str(RECSYS), *request["arguments"]]
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
