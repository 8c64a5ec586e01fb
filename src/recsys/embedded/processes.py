"""Servers as processes: each is started in its own session, found again, and stopped with children.

A variable in its environment marks a process as ours; a reused pid or a reboot cannot fake it.
PostgreSQL's children clear their environment; they are recognized by their working directory.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import psutil

from recsys.embedded.home import Home, write_private
from recsys.errors import ServiceUnavailableError, StoppedBySignal

_MARK = "RECSYS_SERVICE"
_PORT_ATTEMPTS = 4
_LOG_TAIL_LINES = 20
_PATIENCE = 4
"""Times `Service.start_seconds` that a server may take to start while it makes progress."""


class NotReadyError(Exception):
    """The server is not ready yet; the text gives the reason."""


class _PortTakenError(Exception):
    """Another program took the port after it was chosen."""


@dataclass(frozen=True)
class Command:
    """How a server is started.

    Attributes:
        arguments: the command line, without secrets: every account of the machine can read it.
        environment: the whole environment of the process.
        folder: its working directory.
        account: uid and gid to run as, or None for those of this process.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    folder: Path
    account: tuple[int, int] | None = None


@dataclass(frozen=True)
class ServiceStatus:
    """Status of one service.

    Attributes:
        name: name of the service.
        running: whether it has a process and answers.
        address: address for clients, without secrets.
        pid: pid of its first process, or None.
        detail: why it is not running, or other information.
    """

    name: str
    running: bool
    address: str
    pid: int | None
    detail: str = ""


class Service(ABC):
    """One server of the stack.

    Args:
        home: the folder of the stack.
    """

    name: str
    port_names: tuple[str, ...] = ()
    port_conflict: ClassVar[re.Pattern[str]] = re.compile(r"address already in use", re.IGNORECASE)
    stop_signals: ClassVar[tuple[tuple[signal.Signals, float], ...]] = ((signal.SIGTERM, 30),)
    start_seconds: ClassVar[float] = 90
    """Seconds without progress, in its log or in what it lacks, after which a start has failed."""
    poll_seconds: ClassVar[float] = 0.1

    def __init__(self, home: Home) -> None:
        self.home = home
        self.folder = home.folder(self.name.split("-")[0])
        self.log = self.folder / f"{self.name}.log"

    @abstractmethod
    def command(self) -> Command:
        """Returns the command that starts the server on the stored ports."""

    @abstractmethod
    def check(self) -> None:
        """Raises NotReadyError unless the server is ready."""

    @abstractmethod
    def address(self) -> str:
        """Returns the address for clients, without secrets."""

    @abstractmethod
    def prepare(self) -> None:
        """Creates what the server needs; called before it starts."""

    def owns(self, process: psutil.Process) -> bool:
        """Returns whether a process without our mark belongs to this server."""
        return False

    def start(self) -> bool:
        """Starts the server unless it is running, and waits until it is ready.

        The home must be locked.

        Returns:
            Whether it was started by this call.

        Raises:
            ServiceUnavailableError: it did not start; the message ends with its log's last lines.
        """
        leader = self.leader()
        if leader is not None:
            # An earlier start may have been killed while it waited.
            try:
                self._wait(leader)
            except (ServiceUnavailableError, _PortTakenError):
                self.stop()
            else:
                return False
        for _ in range(_PORT_ATTEMPTS):
            self.stop()  # Orphans of a killed server still use its files and ports.
            self.home.free_ports(self.port_names)
            self.prepare()
            try:
                self._wait(self._launch())
            except _PortTakenError:
                self.home.forget_ports(self.port_names)
                continue
            except StoppedBySignal:
                stop_quickly([self], 0.5)
                raise
            except BaseException:
                self.stop()
                raise
            return True
        self.stop()
        raise self._failure(f"found its ports in use {_PORT_ATTEMPTS} times")

    def stop(self) -> None:
        """Stops the server and all its processes; does nothing if it is not running."""
        for stop_signal, seconds in self.stop_signals:
            leader = self.leader()
            if leader is not None:
                _send(leader, stop_signal)
                psutil.wait_procs([leader], timeout=seconds)
        # A killed server leaves orphans, which may fork meanwhile; hence the repetition.
        for kill_signal, seconds in ((signal.SIGTERM, 5), (signal.SIGKILL, 5), (signal.SIGKILL, 5)):
            orphans = self.members()
            if not orphans:
                break
            for process in orphans:
                _send(process, kill_signal)
            psutil.wait_procs(orphans, timeout=seconds)
        self.forget()

    def forget(self) -> None:
        """Deletes the file with the pid of a server that was stopped."""
        self._pid_file.unlink(missing_ok=True)

    def status(self) -> ServiceStatus:
        """Returns the status of the server."""
        leader = self.leader()
        if leader is None:
            return ServiceStatus(self.name, False, self.address(), None, "not started")
        try:
            self.check()
        except NotReadyError as error:
            return ServiceStatus(self.name, False, self.address(), leader.pid, str(error))
        return ServiceStatus(self.name, True, self.address(), leader.pid)

    def leader(self) -> psutil.Process | None:
        """Returns the server's first process, or None if it is dead or not ours."""
        pid = self._recorded_pid()
        try:
            process = psutil.Process(pid) if pid is not None else None
        except psutil.NoSuchProcess:
            return None
        return process if process and is_alive(process) and self._marked(process) else None

    def members(self) -> list[psutil.Process]:
        """Returns all living processes of the server, including orphans."""
        marked: list[psutil.Process] = []
        others: list[psutil.Process] = []
        for process in psutil.process_iter():
            if process.pid != os.getpid() and is_alive(process):
                (marked if self._marked(process) else others).append(process)
        # A process that sets its title overwrites its environment, but stays in the session.
        sessions = {_session(process) for process in marked} - {None, os.getsid(0)}
        recorded = self._recorded_pid()
        return marked + [
            process
            for process in others
            if (session := _session(process)) in sessions
            # If all marked processes are dead, the session id may have been reused.
            or (session is not None and session == recorded and self._works_here(process))
            or self.owns(process)
        ]

    @property
    def _pid_file(self) -> Path:
        return self.folder / f"{self.name}.pid"

    def _recorded_pid(self) -> int | None:
        try:
            return int(self._pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _works_here(self, process: psutil.Process) -> bool:
        try:
            return Path(process.cwd()).is_relative_to(self.folder)
        except (psutil.Error, OSError):
            return False

    def _launch(self) -> psutil.Process:
        command = self.command()
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        user, group = command.account or (None, None)
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "wb") as log:
            child = subprocess.Popen(  # noqa: S603 - the command line is made by our own code
                list(command.arguments),
                cwd=command.folder,
                env={**command.environment, _MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
                group=group,
                extra_groups=None if command.account is None else [],
            )
        write_private(self._pid_file, str(child.pid))
        # The server outlives this process; without this, Popen's finalizer warns about it.
        child.returncode = 0
        return psutil.Process(child.pid)

    def _wait(self, process: psutil.Process) -> None:
        began = time.monotonic()
        moved, last = began, ("", 0)
        while True:
            try:
                return self.check()
            except NotReadyError as error:
                reason = str(error)
            # A server that still makes progress, on a slow machine, gets more time.
            state = (reason, self.log.stat().st_size if self.log.exists() else 0)
            if state != last:
                moved, last = time.monotonic(), state
            deadline = min(moved + self.start_seconds, began + _PATIENCE * self.start_seconds)
            if self.port_conflict.search(self._read_log()):
                raise _PortTakenError
            if not is_alive(process):
                raise self._failure("exited while it was starting")
            if time.monotonic() > deadline:
                waited = time.monotonic() - began
                raise self._failure(f"did not answer in {waited:.0f} s ({reason})")
            time.sleep(self.poll_seconds)

    def _failure(self, what: str) -> ServiceUnavailableError:
        tail = "\n".join(self._read_log().splitlines()[-_LOG_TAIL_LINES:])
        return ServiceUnavailableError(
            f"{self.name} {what}",
            hint=f"read its log, {self.log}\n{self.home.redact(tail)}",
        )

    def _read_log(self) -> str:
        try:
            return self.log.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    @property
    def _mark(self) -> str:
        return f"{self.home.path}:{self.name}"

    def _marked(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(_MARK) == self._mark
        except (psutil.Error, OSError):
            return False


def stop_quickly(services: Sequence[Service], seconds: float = 1.2) -> None:
    """Stops servers at once, because a person waits; their data survive SIGKILL.

    Args:
        services: the servers; all get their stop signal before the first is waited for.
        seconds: time in which they may end by themselves.
    """
    leaders = []
    for service in services:
        leader = service.leader()
        if leader is not None:
            _send(leader, service.stop_signals[0][0])
            leaders.append(leader)
    psutil.wait_procs(leaders, timeout=seconds)
    for service in services:
        for process in service.members():
            _send(process, signal.SIGKILL)
        service.forget()


def end_tree(pid: int, seconds: float = 0.7) -> None:
    """Ends a process with all its descendants, also those in sessions of their own.

    Args:
        pid: the process.
        seconds: time between SIGTERM and SIGKILL.
    """
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in tree:
            _send(process, number)
        _, tree = psutil.wait_procs(tree, timeout=seconds)


def kill_descendants() -> None:
    """Kills all processes that this one has started, and those that they have started."""
    for process in psutil.Process().children(recursive=True):
        _send(process, signal.SIGKILL)


def is_alive(process: psutil.Process) -> bool:
    """Returns whether a process is running; a zombie is not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except OSError:
        return None


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        pass
