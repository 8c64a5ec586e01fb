"""A Kubernetes API that runs a pod's command as a process of this machine.

It answers what KubernetesPodOperator asks of pods, logs and events, and tells of a pod what a
kubelet would. Pods live as long as the server, whatever becomes of the operator.
"""

from __future__ import annotations

import asyncio
import copy
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

Pod = dict[str, Any]


@dataclass
class World:
    """What the cluster is like; a test changes it before or while a pod runs.

    Attributes:
        command: what stands for the image's entrypoint; the pod's arguments follow.
        cwd: where it runs.
        environment: what the image itself sets.
        secrets: by name, what their keys hold.
        waiting: a reason for which containers wait for ever, as a kubelet gives it.
        unschedulable: no node has room.
        refuse: answers for creating a pod: status and message.
        cluster_of: TF_CONFIG by index of a Job's pod, because names of hosts do not resolve here.
        report_success: say exit code 0 whatever it was, as a race in real life did.
    """

    command: list[str]
    cwd: Path
    environment: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    waiting: tuple[str, str] | None = None
    unschedulable: str | None = None
    refuse: tuple[int, str] | None = None
    report_success: bool = False
    cluster_of: Callable[[int], str] | None = None


class FakeKubernetes:
    """The server, in a thread of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.created: list[Pod] = []
        """Every pod that was asked for, as it was asked for."""
        self.pods: dict[str, Pod] = {}
        self.jobs: dict[str, Pod] = {}
        self.created_jobs: list[Pod] = []
        """Every Job that was asked for, as it was asked for."""
        self.logs: dict[str, list[str]] = {}
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> FakeKubernetes:
        self._thread.start()
        self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.processes):
            self.kill(name)
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def kube_config(self) -> dict[str, Any]:
        """A kubeconfig that leads here."""
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
            "clusters": [{"name": "fake", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "fake", "user": {"token": "token"}}],
        }

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Ends a pod's process as a kubelet or the kernel would."""
        process = self.processes.get(name)
        if process and process.returncode is None:
            os.killpg(process.pid, number)

    def lose(self, name: str) -> None:
        """The pod's node is lost, and the pod with it."""
        self.pods.pop(name, None)
        self.kill(name)

    def log_of(self, name: str) -> str:
        return "\n".join(self.logs.get(name, []))

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        pods = "/api/v1/namespaces/{namespace}/pods"
        app.router.add_get(pods, self._list)
        app.router.add_post(pods, self._create)
        app.router.add_get(pods + "/{name}", self._get)
        app.router.add_patch(pods + "/{name}", self._patch)
        app.router.add_delete(pods + "/{name}", self._delete)
        app.router.add_get(pods + "/{name}/log", self._log)
        app.router.add_get("/api/v1/namespaces/{namespace}/events", self._events)
        jobs = "/apis/batch/v1/namespaces/{namespace}/jobs"
        app.router.add_get(jobs, self._list_jobs)
        app.router.add_post(jobs, self._create_job)
        app.router.add_get(jobs + "/{name}", self._get_job)
        app.router.add_get(jobs + "/{name}/status", self._get_job)
        app.router.add_delete(jobs + "/{name}", self._delete_job)
        self._runner = web.AppRunner(app)
        self._loop.run_until_complete(self._runner.setup())
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self._started.set()
        self._loop.run_forever()

    async def _list(self, request: web.Request) -> web.Response:
        wanted = _selector(request.query.get("labelSelector", ""))
        items = [pod for pod in self.pods.values() if wanted(pod["metadata"].get("labels", {}))]
        return web.json_response({"kind": "PodList", "apiVersion": "v1", "items": items})

    async def _create(self, request: web.Request) -> web.Response:
        pod = await request.json()
        if self.world.refuse:
            return _status(*self.world.refuse)
        name = pod["metadata"]["name"]
        pod["metadata"] |= {"uid": f"uid-{len(self.created)}", "creationTimestamp": _NOW}
        pod["metadata"].setdefault("namespace", request.match_info["namespace"])
        self.created.append(pod)
        self.pods[name] = pod
        self.logs[name] = []
        self._set(pod, "Pending", {"waiting": {"reason": "ContainerCreating"}})
        task = self._loop.create_task(self._run(pod))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return web.json_response(pod, status=201)

    async def _run(self, pod: Pod) -> None:
        """What scheduler and kubelet do with a pod."""
        container = pod["spec"]["containers"][0]
        if self.world.unschedulable:
            self._set(pod, "Pending", None, unscheduled=self.world.unschedulable)
            return
        environment = dict(self.world.environment)
        for reference in container.get("envFrom", []):
            secret = reference["secretRef"]["name"]
            if secret not in self.world.secrets:
                waiting = {"reason": "CreateContainerConfigError"}
                waiting["message"] = f'secret "{secret}" not found'
                self._set(pod, "Pending", {"waiting": waiting})
                return
            environment |= self.world.secrets[secret]
        if self.world.waiting:
            reason, message = self.world.waiting
            self._set(pod, "Pending", {"waiting": {"reason": reason, "message": message}})
            return
        environment |= {e["name"]: e.get("value", "") for e in container.get("env", [])}
        name = pod["metadata"]["name"]
        environment["HOSTNAME"] = pod["spec"].get("hostname", name)
        if self.world.cluster_of and _INDEX in environment:
            environment["TF_CONFIG"] = self.world.cluster_of(int(environment[_INDEX]))
        process = await asyncio.create_subprocess_exec(
            *self.world.command,
            *container.get("args", []),
            cwd=self.world.cwd,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self.processes[name] = process
        self._set(pod, "Running", {"running": {"startedAt": _NOW}})
        assert process.stdout
        async for line in process.stdout:
            self.logs[name].append(line.decode(errors="replace").rstrip())
        code = await process.wait()
        code = 128 - code if code < 0 else code
        if self.world.report_success:
            code = 0
        ended = {"exitCode": code, "startedAt": _NOW, "finishedAt": _NOW}
        ended["reason"] = "Completed" if code == 0 else "Error"
        if code:
            # As terminationMessagePolicy FallbackToLogsOnError does.
            ended["message"] = "\n".join(self.logs[name][-20:])
        self._set(pod, "Failed" if code else "Succeeded", {"terminated": ended})

    def _set(
        self, pod: Pod, phase: str, state: dict[str, Any] | None, unscheduled: str | None = None
    ) -> None:
        container = pod["spec"]["containers"][0]
        scheduled = {"type": "PodScheduled", "status": "False" if unscheduled else "True"}
        if unscheduled:
            scheduled |= {"reason": "Unschedulable", "message": unscheduled}
        pod["status"] = {"phase": phase, "conditions": [scheduled], "startTime": _NOW}
        if state is not None:
            pod["status"]["containerStatuses"] = [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": container["image"],
                    "ready": "running" in state,
                    "restartCount": 0,
                    "state": state,
                }
            ]

    async def _list_jobs(self, request: web.Request) -> web.Response:
        wanted = _selector(request.query.get("labelSelector", ""))
        items = [job for job in self.jobs.values() if wanted(job["metadata"].get("labels", {}))]
        return web.json_response({"kind": "JobList", "apiVersion": "batch/v1", "items": items})

    async def _create_job(self, request: web.Request) -> web.Response:
        job = await request.json()
        if self.world.refuse:
            return _status(*self.world.refuse)
        name = job["metadata"]["name"]
        job["metadata"] |= {"uid": f"job-uid-{len(self.created_jobs)}", "creationTimestamp": _NOW}
        job["status"] = {"active": job["spec"]["completions"]}
        self.created_jobs.append(job)
        self.jobs[name] = job
        task = self._loop.create_task(self._run_job(job))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return web.json_response(job, status=201)

    async def _run_job(self, job: Pod) -> None:
        """What the Job controller does with an Indexed Job whose backoff limit is 0."""
        name, spec = job["metadata"]["name"], job["spec"]
        # Pods appear a moment after their Job.
        await asyncio.sleep(0.3)
        pods = []
        for index in range(spec["completions"]):
            pod = copy.deepcopy(spec["template"])
            metadata = pod["metadata"]
            metadata |= {"name": f"{name}-{index}-x", "namespace": job["metadata"]["namespace"]}
            metadata["uid"] = f"{name}-{index}"
            metadata["labels"] = {**metadata.get("labels", {}), _JOB_LABEL: name}
            pod |= {"kind": "Pod", "apiVersion": "v1"}
            pod["spec"]["hostname"] = f"{name}-{index}"
            container = pod["spec"]["containers"][0]
            container.setdefault("env", []).append({"name": _INDEX, "value": str(index)})
            self.pods[metadata["name"]] = pod
            self.logs[metadata["name"]] = []
            self._set(pod, "Pending", {"waiting": {"reason": "ContainerCreating"}})
            pods.append(pod)
        runs = [asyncio.ensure_future(self._run(pod)) for pod in pods]
        while not all(pod["status"]["phase"] == "Succeeded" for pod in pods):
            if any(pod["status"]["phase"] == "Failed" for pod in pods):
                for pod in pods:
                    self.kill(pod["metadata"]["name"], signal.SIGTERM)
                break
            if name not in self.jobs:
                break
            await asyncio.sleep(0.05)
        await asyncio.gather(*runs)
        failed = any(pod["status"]["phase"] == "Failed" for pod in pods)
        condition = {"type": "Failed", "reason": "BackoffLimitExceeded", "message": "limit"}
        job["status"] = {
            "conditions": [{**(condition if failed else {"type": "Complete"}), "status": "True"}]
        }

    async def _get_job(self, request: web.Request) -> web.Response:
        job = self.jobs.get(request.match_info["name"])
        return web.json_response(job) if job else _not_found(request, "jobs.batch")

    async def _delete_job(self, request: web.Request) -> web.Response:
        job = self.jobs.pop(request.match_info["name"], None)
        if job is None:
            return _not_found(request, "jobs.batch")
        for name, pod in list(self.pods.items()):
            if pod["metadata"].get("labels", {}).get(_JOB_LABEL) == job["metadata"]["name"]:
                self.pods.pop(name)
                self.kill(name, signal.SIGTERM)
        return web.json_response({"kind": "Status", "apiVersion": "v1", "status": "Success"})

    async def _get(self, request: web.Request) -> web.Response:
        pod = self.pods.get(request.match_info["name"])
        return web.json_response(pod) if pod else _not_found(request)

    async def _patch(self, request: web.Request) -> web.Response:
        pod = self.pods.get(request.match_info["name"])
        if pod is None:
            return _not_found(request)
        patch = await request.json()
        pod["metadata"].setdefault("labels", {}).update(
            patch.get("metadata", {}).get("labels") or {}
        )
        return web.json_response(pod)

    async def _delete(self, request: web.Request) -> web.Response:
        pod = self.pods.pop(request.match_info["name"], None)
        if pod is None:
            return _not_found(request)
        self.kill(pod["metadata"]["name"], signal.SIGTERM)
        return web.json_response(pod)

    async def _log(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in self.pods:
            return _not_found(request)
        response = web.StreamResponse()
        await response.prepare(request)
        follow, sent = request.query.get("follow") in ("true", "True"), 0
        stamp = f"{_NOW} " if request.query.get("timestamps") in ("true", "True") else ""
        while True:
            lines = self.logs[name]
            for line in lines[sent:]:
                await response.write(f"{stamp}{line}\n".encode())
            sent = len(lines)
            phase = self.pods.get(name, {}).get("status", {}).get("phase")
            if not follow or phase not in ("Pending", "Running"):
                break
            await asyncio.sleep(0.05)
        await response.write_eof()
        return response

    async def _events(self, request: web.Request) -> web.Response:
        return web.json_response({"kind": "EventList", "apiVersion": "v1", "items": []})


_INDEX = "JOB_COMPLETION_INDEX"
_JOB_LABEL = "batch.kubernetes.io/job-name"
_NOW = "2026-01-01T00:00:00Z"


def _selector(text: str) -> Callable[[dict[str, str]], bool]:
    """Understands ``a=b``, ``a!=b``, ``a`` and ``!a``."""
    terms = [term.strip() for term in text.split(",") if term.strip()]

    def matches(labels: dict[str, str]) -> bool:
        for term in terms:
            if "!=" in term:
                key, value = term.split("!=")
                if labels.get(key) == value:
                    return False
            elif "=" in term:
                key, value = term.replace("==", "=").split("=")
                if labels.get(key) != value:
                    return False
            elif (term.lstrip("!") in labels) == term.startswith("!"):
                return False
        return True

    return matches


def _status(code: int, message: str) -> web.Response:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message}
    return web.json_response(body | {"code": code}, status=code)


def _not_found(request: web.Request, kind: str = "pods") -> web.Response:
    return _status(404, f'{kind} "{request.match_info.get("name")}" not found')
