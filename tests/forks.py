"""Programs that start in a tenth of a second, because each is a fork of one that has imported all.

Importing TensorFlow takes longer than a training of the tests, and importing the libraries of
`recsys` takes longer than most of its commands. A server process imports them once. Each start of
the program is a fork of the server, with the arguments, the environment, the folder, the streams,
the signals and the exit status of the start. tests/e2e/test_demo.py starts everything as users do.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
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
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

ROOT: Final = Path(__file__).resolve().parents[1]
_MAX_MESSAGE: Final = 1 << 18

TRAINER_LIBRARIES: Final = (
    *("boto3", "botocore.config", "keras", "polars", "scipy.sparse", "tensorflow"),
    *("verifier.candidate", "verifier.champion", "verifier.commands", "verifier.measure"),
)
"""Nothing of `trainer`: the verifier must load a model without its code."""
SECOND_BACKEND_LIBRARIES: Final = (
    "verifier.second_backend:choose_backend",
    *("keras", "numpy", "verifier.candidate", "verifier.models"),
)
"""What is called comes first: Keras reads its backend when it is imported."""
COMMAND_MODULES: Final = (
    *("alerts", "bench", "data", "evaluation", "queries"),
    *("releases", "report", "runs", "stack", "tuning"),
)
RECSYS_LIBRARIES: Final = (
    "boto3",
    "botocore.config",
    "jinja2",
    "numpy",
    "psycopg",
    "rich.table",
    "typer.rich_utils",
    "recsys.alerts",
    "recsys.cli.app",
    *(f"recsys.cli.{module}" for module in COMMAND_MODULES),
    "recsys.ledger",
    "recsys.monitoring",
    "recsys.releases",
)
"""Not polars: it has threads after its import, and threads do not survive a fork."""


def trainer_python(folder: Path, python: Path) -> Path:
    """Returns a program that stands for the trainer's interpreter.

    It forks for ``-m trainer ...`` and ``-P -m verifier ...``.

    Args:
        folder: gets the program, and the socket of its server.
        python: the interpreter of the trainer's environment.
    """
    # A process has one backend, so the verifier starts its interpreter again for the other one.
    second = (("-m", "verifier.second_backend"), "verifier.second_backend")
    again = _install(folder / "second", python, [second], SECOND_BACKEND_LIBRARIES)
    programs = [(("-m", "trainer"), "trainer"), (("-P", "-m", "verifier"), "verifier")]
    return _install(folder, python, programs, TRAINER_LIBRARIES, interpreter=again)


def recsys_program(folder: Path) -> Path:
    """Returns a program that does what the command `recsys` does."""
    return _install(folder, Path(sys.executable), [((), "recsys.cli:main")], RECSYS_LIBRARIES)


def _install(
    folder: Path,
    python: Path,
    programs: Sequence[tuple[Sequence[str], str]],
    libraries: Sequence[str],
    interpreter: Path | None = None,
) -> Path:
    """Writes the program.

    Args:
        folder: gets it.
        python: the interpreter, which gets all calls that are none of ``programs``.
        programs: first arguments, and what they run: a module as by ``-m``, or
            ``module:function``, which is called.
        libraries: what the server imports, or imports and calls, in the same form.
        interpreter: what the programs start as ``sys.executable``; the real one if None.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "python": str(python),
        "programs": programs,
        "libraries": libraries,
        "interpreter": str(interpreter or python),
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    path = folder / "program"
    path.write_text(f'#!/bin/sh\nexec "{python}" -IS "{__file__}" start "{folder}" "$@"\n')
    path.chmod(0o755)
    return path


def start(folder: Path, arguments: list[str]) -> NoReturn:
    """Runs the program in a fork of its server, and ends as the fork ends."""
    settings = json.loads((folder / "settings.json").read_text())
    python = settings["python"]
    programs = settings["programs"]
    named = [program for program in programs if arguments[: len(program[0])] == program[0]]
    if not named:
        os.execv(python, [python, *arguments])  # noqa: S606  its own arguments
    [(options, module)] = named
    connection = _connect(folder, python)
    message = {
        "module": module,
        "interpreter": settings["interpreter"],
        "arguments": arguments[len(options) :],
        "folder": os.getcwd(),
        "environment": dict(os.environ),
    }
    socket.send_fds(connection, [json.dumps(message).encode()], [0, 1, 2])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: connection.send(bytes([received])))
    answer = connection.recv(_MAX_MESSAGE)
    if not answer:
        sys.exit(f"{folder}: the server has ended")
    code = os.waitstatus_to_exitcode(int(answer))
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _connect(folder: Path, python: str) -> socket.socket:
    """Connects to the program's server; starts it if necessary."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_MESSAGE)
    address = str(folder / "socket")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError, ConnectionRefusedError):
            connection.connect(address)
            return connection
        Path(address).unlink(missing_ok=True)
        inherited = {n: os.environ[n] for n in ("PATH", "HOME", "TMPDIR") if n in os.environ}
        server = subprocess.Popen(
            [python, __file__, "serve", str(folder)],
            cwd=ROOT,
            env={
                **inherited,
                # tests/watchdog.py ends the server by this, if TMPDIR is not inherited.
                "RECSYS_SERVICE": f"{folder}",
                "PYTHONPATH": f"{ROOT}",
                "PYTHONUNBUFFERED": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "JAX_PLATFORMS": "cpu",
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
    """Imports the libraries, and forks for each connection until the process is killed."""
    settings = json.loads((folder / "settings.json").read_text())
    for library in settings["libraries"]:
        name, _, function = library.partition(":")
        module = importlib.import_module(name)
        if function:
            getattr(module, function)()
    # A fork need not look at the objects of the imported modules when it collects garbage.
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        # The socket accepts connections from the moment when it appears.
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
    """Forks the program, sends it the signals of its start, and reports its status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    data, streams, _, _ = socket.recv_fds(connection, _MAX_MESSAGE, 3)
    pid = os.fork()
    if pid == 0:
        connection.close()
        return _run(json.loads(data), streams)
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
        # Without a signal: the process that was started is gone, so it was killed.
        os.kill(pid, received[0] if received else signal.SIGKILL)
        if not received:
            poll.unregister(connection)


def _run(message: dict[str, Any], streams: list[int]) -> None:
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # The server's own remember that they wrote to a file, which has a position.
    sys.stdout, sys.stderr = (
        open(number, "w", encoding="utf-8", errors=errors, buffering=1, closefd=False)
        for number, errors in ((1, "strict"), (2, "backslashreplace"))
    )
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(message["folder"])
    os.environ.clear()
    os.environ.update(message["environment"])
    tempfile.tempdir = None
    module = message["module"]
    sys.argv = [module, *message["arguments"]]
    sys.executable = message["interpreter"]
    name, _, function = module.partition(":")
    if function:
        getattr(importlib.import_module(name), function)()
    else:
        runpy.run_module(name, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(Path(sys.argv[2]))
    else:
        start(Path(sys.argv[2]), sys.argv[3:])
