"""A Kubernetes API that runs a pod's command as a process of this machine.

It answers what Airflow's operators ask of pods, Jobs, logs and events, as far as the Role of
k8s/base lets them ask, and tells of a pod what a kubelet would. Pods live as long as the server,
whatever becomes of the operator.
"""

from __future__ import annotations

import asyncio
import copy
import json
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from tests.e2e.fake_server import FakeServer

Pod = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


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


class FakeKubernetes(FakeServer):
    """The server."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.created: list[Pod] = []
        """Every pod that was asked for, as it was asked for."""
        self.pods: dict[str, Pod] = {}
        self.jobs: dict[str, Pod] = {}
        self.created_jobs: list[Pod] = []
        """Every Job that was asked for, as it was asked for."""
        self.logs: dict[str, list[str]] = {}
        self.followed: set[str] = set()
        """Pods whose log was followed and sent a line."""
        self.forbidden: list[str] = []
        """What was asked for that Airflow's account has no right to."""

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

    @property
    def connection(self) -> dict[str, str]:
        """Airflow's default Connection to a cluster, as an environment variable."""
        extra = {"kube_config": json.dumps(self.kube_config)}
        connection = json.dumps({"conn_type": "kubernetes", "extra": extra})
        return {"AIRFLOW_CONN_KUBERNETES_DEFAULT": connection}

    def said(self, name: str) -> bool:
        """Whether a pod has printed anything."""
        return bool(self.logs.get(name))

    def lose(self, name: str) -> None:
        """The pod's node is lost, and the pod with it."""
        self.pods.pop(name, None)
        self.kill(name)

    def add_routes(self, app: web.Application) -> None:
        """See `FakeServer`."""
        app.middlewares.append(self._authorize)
        router = app.router
        pods = "/api/v1/namespaces/{namespace}/pods"
        router.add_get(pods, self._list)
        router.add_post(pods, self._create)
        router.add_get(pods + "/{name}", self._get)
        router.add_patch(pods + "/{name}", self._patch)
        router.add_delete(pods + "/{name}", self._delete)
        router.add_get(pods + "/{name}/log", self._log)
        router.add_get("/api/v1/namespaces/{namespace}/events", self._events)
        jobs = "/apis/batch/v1/namespaces/{namespace}/jobs"
        router.add_get(jobs, self._list_jobs)
        router.add_post(jobs, self._create_job)
        router.add_get(jobs + "/{name}", self._get_job)
        router.add_get(jobs + "/{name}/status", self._get_job)
        router.add_delete(jobs + "/{name}", self._delete_job)

    @web.middleware
    async def _authorize(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Holds Airflow's account to its Role in k8s/base, as the real API would."""
        group = "batch" if request.path.startswith("/apis/batch/") else ""
        _, _, rest = request.path.partition("/namespaces/")
        _, kind, name, subresource, *_ = [*rest.split("/"), "", "", ""]
        resource = f"{kind}/{subresource}" if subresource else kind
        verb = _VERBS.get(request.method) or ("get" if name else "list")
        if any(
            group in rule["apiGroups"] and resource in rule["resources"] and verb in rule["verbs"]
            for rule in _rules()
        ):
            return await handler(request)
        self.forbidden.append(f"{verb} {resource}")
        return _status(403, f"{resource} is forbidden: cannot {verb} it")

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
        self.later(self._run(pod))
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
        command = [*self.world.command, *container.get("args", [])]
        await self.start_process(name, command, self.world.cwd, environment)
        self._set(pod, "Running", {"running": {"startedAt": _NOW}})
        async for line in self.output(name):
            self.logs[name].append(line.decode(errors="replace").rstrip())
        code = await self.exit_code(name)
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
        self.later(self._run_job(job))
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
            if follow and sent:
                self.followed.add(name)
            phase = self.pods.get(name, {}).get("status", {}).get("phase")
            if not follow or phase not in ("Pending", "Running"):
                break
            await asyncio.sleep(0.05)
        await response.write_eof()
        return response

    async def _events(self, request: web.Request) -> web.Response:
        return web.json_response({"kind": "EventList", "apiVersion": "v1", "items": []})


_VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}
_INDEX = "JOB_COMPLETION_INDEX"
_JOB_LABEL = "batch.kubernetes.io/job-name"
_NOW = "2026-01-01T00:00:00Z"


@cache
def _rules() -> list[dict[str, list[str]]]:
    """What the operators may do, as the project's manifests say."""
    manifest = Path(__file__).resolve().parents[2] / "k8s/base/rbac.yaml"
    roles = [d for d in yaml.safe_load_all(manifest.read_text()) if d["kind"] == "Role"]
    return [rule for role in roles for rule in role["rules"]]


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
