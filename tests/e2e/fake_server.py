"""An HTTP server that stands for an engine, and runs what it is asked to as processes here."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, Self

from aiohttp import web


class FakeServer:
    """The server, in a thread of its own; a context manager. What it runs ends with it.

    Attributes:
        port: on loopback, once it was entered.
        processes: what runs or ran, by name.
    """

    def __init__(self) -> None:
        self.port = 0
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self.loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def add_routes(self, app: web.Application) -> None:
        """What it answers to."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10), "the fake server does not start"
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.processes):
            self.kill(name)
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Ends a process as the kernel would, or asks it to end."""
        process = self.processes.get(name)
        if process and process.returncode is None:
            os.killpg(process.pid, number)

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Does this while requests are answered."""
        task = self.loop.create_task(work)
        # The loop itself holds no reference that keeps a task alive.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def start_process(
        self, name: str, command: list[str], cwd: Path, environment: dict[str, str]
    ) -> None:
        """Runs a command under this name, with nothing of this process's environment."""
        self.processes[name] = await asyncio.create_subprocess_exec(
            *command,
            cwd=cwd,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )

    async def output(self, name: str) -> AsyncIterator[bytes]:
        """What a process prints, by lines, until its end."""
        process = self.processes[name]
        assert process.stdout
        async for line in process.stdout:
            yield line

    async def exit_code(self, name: str) -> int:
        """How a process ended, as engines count: 128 and the signal's number."""
        code = await self.processes[name].wait()
        return 128 - code if code < 0 else code

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        app = web.Application()
        self.add_routes(app)
        self._runner = web.AppRunner(app)
        self.loop.run_until_complete(self._runner.setup())
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        self.loop.run_until_complete(site.start())
        self.port = self._runner.addresses[0][1]
        self._started.set()
        self.loop.run_forever()
