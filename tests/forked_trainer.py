"""An interpreter for the trainer whose processes start in a tenth of a second.

A process of the trainer spends most of a short training on importing TensorFlow. Here one process
imports it, and each ``python -m trainer`` is a fork of that process, with the arguments, the
environment, the folder, the streams, the signals and the exit status of the command that asked for
it. tests/e2e/test_demo.py starts the trainer as users do.
"""

from __future__ import annotations

import fcntl
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
_TRAINER = ["-m", "trainer"]
_MAX_MESSAGE = 1 << 17


def install(folder: Path, python: Path) -> Path:
    """Writes a program that stands for an interpreter, and returns its path.

    Its first call starts the process that imports TensorFlow. tests/watchdog.py ends it.

    Args:
        folder: where the program and its socket are.
        python: the interpreter of the trainer's environment.
    """
    path = folder / "python"
    path.write_text(
        f'#!/bin/sh\nexec "{python}" -IS "{__file__}" client "{folder}" "{python}" "$@"\n'
    )
    path.chmod(0o755)
    return path


def client(folder: Path, python: str, arguments: list[str]) -> NoReturn:
    """Has a fork run the command, and ends as it ends."""
    if arguments[:2] != _TRAINER:
        os.execv(python, [python, *arguments])  # noqa: S606  its own arguments
    connection = _connect(folder, python)
    message = {"arguments": arguments[2:], "folder": os.getcwd(), "environment": dict(os.environ)}
    socket.send_fds(connection, [json.dumps(message).encode()], [0, 1, 2])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: connection.send(bytes([received])))
    answer = connection.recv(_MAX_MESSAGE)
    if not answer:
        sys.exit("the process that forks the trainer is gone")
    code = os.waitstatus_to_exitcode(int(answer))
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _connect(folder: Path, python: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    address = str(folder / "socket")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError, ConnectionRefusedError):
            connection.connect(address)
            return connection
        Path(address).unlink(missing_ok=True)
        server = subprocess.Popen(
            [python, __file__, "serve", str(folder)],
            cwd=ROOT,
            env={
                **{
                    name: os.environ[name]
                    for name in ("PATH", "HOME", "TMPDIR")
                    if name in os.environ
                },
                "PYTHONPATH": f"{ROOT}",
                "PYTHONUNBUFFERED": "1",
                "TF_CPP_MIN_LOG_LEVEL": "3",
            },
            stdin=subprocess.DEVNULL,
            stdout=(folder / "log").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        while server.poll() is None:
            with suppress(FileNotFoundError, ConnectionRefusedError):
                connection.connect(address)
                return connection
            time.sleep(0.05)
    sys.exit((folder / "log").read_text())


def serve(folder: Path) -> None:
    """Imports the trainer, and forks for each connection, without an end."""
    import keras  # noqa: F401

    import trainer.__main__
    import trainer.default_architecture
    import trainer.verify  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        # Complete when it appears.
        server.bind(str(folder / "new"))
        server.listen(64)
        (folder / "new").rename(folder / "socket")
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                return _supervise(connection)
            connection.close()


def _supervise(connection: socket.socket) -> None:
    """Forks the trainer; sends it the client's signals, and the client its status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    data, streams, _, _ = socket.recv_fds(connection, _MAX_MESSAGE, 3)
    pid = os.fork()
    if pid == 0:
        connection.close()
        return _run_trainer(json.loads(data), streams)
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(connection, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if ended in ready:
            _, status = os.waitpid(pid, 0)
            with suppress(OSError):
                connection.send(str(status).encode())
            os._exit(0)
        received = connection.recv(1)
        # A client that is gone was killed.
        os.kill(pid, received[0] if received else signal.SIGKILL)
        if not received:
            poll.unregister(connection)


def _run_trainer(message: dict[str, object], streams: list[int]) -> None:
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(str(message["folder"]))
    os.environ.clear()
    os.environ.update(message["environment"])  # type: ignore[call-overload]
    tempfile.tempdir = None
    sys.argv = ["trainer", *message["arguments"]]  # type: ignore[misc]
    del sys.modules["trainer.__main__"]
    runpy.run_module("trainer", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(Path(sys.argv[2]))
    else:
        client(Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
