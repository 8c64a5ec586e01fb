"""Reads other processes, which may end at any moment: between their listing and the reading."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import psutil

from recsys.embedded.processes import is_alive

_Read = TypeVar("_Read")


def read_each(
    processes: Iterable[psutil.Process], read: Callable[[psutil.Process], _Read]
) -> list[_Read]:
    """Returns what is read of each process that still exists."""
    found = []
    for process in processes:
        try:
            found.append(read(process))
        except psutil.NoSuchProcess:
            continue
    return found


def listening_addresses(processes: Iterable[psutil.Process]) -> set[str]:
    """Returns the IP addresses at which processes accept connections."""
    return {
        connection.laddr.ip
        for connections in read_each(processes, lambda process: process.net_connections("inet"))
        for connection in connections
        if connection.status == psutil.CONN_LISTEN
    }


def command_lines(processes: Iterable[psutil.Process]) -> list[str]:
    """Returns the commands of processes, words joined by spaces."""
    return [" ".join(words) for words in read_each(processes, psutil.Process.cmdline)]


def wait_for_end(*pids: int, seconds: float = 60) -> bool:
    """Returns whether processes end in time; a zombie that nobody waits for has ended."""
    deadline = time.monotonic() + seconds
    while any(is_running(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_running(pid: int) -> bool:
    """Returns whether a process exists and is no zombie."""
    try:
        return is_alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False
