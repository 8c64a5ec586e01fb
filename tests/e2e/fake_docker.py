"""A Docker engine that runs a container's command as a process of this machine.

It answers what DockerOperator asks: images, containers, their output, their exit code.
"""

from __future__ import annotations

import asyncio
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.e2e.fake_server import FakeServer

_API = "1.44"


@dataclass
class Engine:
    """What the engine has.

    Attributes:
        images: names that were pulled or built; others are nowhere to be had.
        command: what stands for the image's entrypoint; the container's command follows.
        cwd: where it runs.
        environment: what the image itself sets.
    """

    images: set[str]
    command: list[str]
    cwd: Path
    environment: dict[str, str] = field(default_factory=dict)


class FakeDocker(FakeServer):
    """The server, on a TCP port."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self.created: list[dict[str, Any]] = []
        """Every container that was asked for, as it was asked for."""
        self.removed: list[str] = []
        self.stopped: list[str] = []
        self._codes: dict[str, asyncio.Future[int]] = {}
        self._output: dict[str, asyncio.Queue[bytes | None]] = {}

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def add_routes(self, app: web.Application) -> None:
        """See `FakeServer`."""
        add = app.router.add_route
        for prefix in ("", "/v{version}"):
            add("GET", prefix + "/_ping", self._ping)
            add("GET", prefix + "/version", self._version)
            add("GET", prefix + "/images/json", self._images)
            add("POST", prefix + "/images/create", self._pull)
            add("GET", prefix + "/containers/json", self._containers)
            add("POST", prefix + "/containers/create", self._create)
            container = prefix + "/containers/{name}"
            add("POST", container + "/attach", self._attach)
            add("POST", container + "/start", self._start)
            add("POST", container + "/stop", self._stop)
            add("POST", container + "/wait", self._wait)
            add("GET", container + "/json", self._inspect)
            add("DELETE", container, self._remove)

    async def _ping(self, request: web.Request) -> web.Response:
        return web.Response(text="OK", headers={"Api-Version": _API})

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"Version": "28.0", "ApiVersion": _API, "MinAPIVersion": "1.24"})

    async def _images(self, request: web.Request) -> web.Response:
        wanted = request.query.get("filter") or request.query.get("reference") or ""
        found = [
            {"Id": name} for name in sorted(self.engine.images) if not wanted or name == wanted
        ]
        return web.json_response(found)

    async def _pull(self, request: web.Request) -> web.Response:
        wanted = request.query["fromImage"]
        return web.json_response({"message": f"manifest for {wanted} not found"}, status=404)

    async def _create(self, request: web.Request) -> web.Response:
        container = await request.json()
        if container["Image"] not in self.engine.images:
            message = f"No such image: {container['Image']}"
            return web.json_response({"message": message}, status=404)
        name = f"container{len(self.created)}"
        self.created.append(container)
        self._codes[name] = self.loop.create_future()
        self._output[name] = asyncio.Queue()
        return web.json_response({"Id": name, "Warnings": []}, status=201)

    async def _containers(self, request: web.Request) -> web.Response:
        wanted = json.loads(request.query.get("filters", "{}")).get("label", [])
        names = [f"container{number}" for number in range(len(self.created))]
        found = [
            {"Id": name, "Labels": created.get("Labels") or {}}
            for name, created in zip(names, self.created, strict=True)
            if name not in self.removed
            and all(
                (created.get("Labels") or {}).get(label.partition("=")[0])
                == label.partition("=")[2]
                for label in wanted
            )
        ]
        return web.json_response(found)

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        # As the engine does, the connection becomes a stream of frames.
        upgraded = {"Connection": "Upgrade", "Upgrade": "tcp"}
        response = web.StreamResponse(status=101, headers=upgraded)
        await response.prepare(request)
        assert request.transport
        queue = self._output[request.match_info["name"]]
        while (line := await queue.get()) is not None:
            request.transport.write(struct.pack(">BxxxL", 1, len(line)) + line)
        request.transport.close()
        return response

    async def _start(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        created = self.created[int(name.removeprefix("container"))]
        given = dict(variable.split("=", 1) for variable in created.get("Env") or [])
        command = [*self.engine.command, *(created.get("Cmd") or [])]
        environment = self.engine.environment | given
        await self.start_process(name, command, self.engine.cwd, environment)
        self.later(self._run(name))
        return web.Response(status=204)

    async def _run(self, name: str) -> None:
        async for line in self.output(name):
            await self._output[name].put(line)
        self._codes[name].set_result(await self.exit_code(name))
        await self._output[name].put(None)

    async def _wait(self, request: web.Request) -> web.Response:
        code = await asyncio.shield(self._codes[request.match_info["name"]])
        return web.json_response({"StatusCode": code})

    async def _stop(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.stopped.append(name)
        self.kill(name)
        return web.Response(status=204)

    async def _inspect(self, request: web.Request) -> web.Response:
        return web.json_response({"Id": request.match_info["name"], "Config": {"Tty": False}})

    async def _remove(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.kill(name)
        self.removed.append(name)
        return web.Response(status=204)
