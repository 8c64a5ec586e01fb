"""A Kubernetes API with a Spark operator that runs drivers and executors as processes here.

It enforces the Roles of each caller's account, as defined in ``k8s/``: a request that no rule
allows gets 403 and is recorded in `FakeSparkCluster.refused`. The driver is a real
``spark-submit``, started as by the image's entrypoint; it requests its executors from this API.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import os
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.e2e.kubernetes_requests import (
    RESOURCE_PATH,
    Asked,
    Document,
    field_of,
    list_of,
    selector_terms,
    status_of,
    verb_of,
)

_NOW = "2026-01-01T00:00:00Z"


@dataclass
class Spark:
    """What the image would bring.

    Attributes:
        home: ``SPARK_HOME``.
        application: stands for the image's file.
        environment: what the image and the node set.
        secrets: by name, what their keys hold.
        conf: Spark's settings that make many pods fit onto one loopback address.
    """

    home: Path
    application: Path
    environment: dict[str, str]
    secrets: dict[str, dict[str, str]]
    conf: dict[str, str]


@dataclass
class FakeSparkCluster:
    """The server, in a thread of its own; a context manager.

    Attributes:
        spark: what pods are made of.
        rules: of the Roles that are bound to each account.
        folder: for the drivers' tokens.
    """

    spark: Spark
    rules: dict[str, list[Document]]
    folder: Path
    objects: dict[str, dict[str, Document]] = field(default_factory=dict)
    created: list[Document] = field(default_factory=list)
    """Everything that was created through the API, as it was asked for."""
    asked: set[Asked] = field(default_factory=set)
    refused: list[Asked] = field(default_factory=list)
    logs: dict[str, list[str]] = field(default_factory=dict)
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._version = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> FakeSparkCluster:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.processes):
            self.kill(name)
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kube_config(self, account: str) -> Document:
        """A kubeconfig that leads here, as this account."""
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": {"token": account}}],
        }

    def pods(self, role: str) -> list[Document]:
        """Pods that were created with this role, ``driver`` or ``executor``."""
        return [
            d
            for d in self.created
            if d["kind"] == "Pod" and d["metadata"]["labels"]["spark-role"] == role
        ]

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        # A watch never ends by itself.
        self._runner = web.AppRunner(app, shutdown_timeout=0.5)
        self._loop.run_until_complete(self._runner.setup())
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.port: int = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self._started.set()
        self._loop.run_forever()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        found = RESOURCE_PATH.fullmatch(request.path)
        if not found:
            return status_of(404, f"{request.path} is no path of this API")
        plural, name, sub = found["plural"], found["name"], found["sub"]
        asked = Asked(
            request.headers.get("Authorization", "").removeprefix("Bearer "),
            verb_of(request, name),
            f"{plural}/{sub}" if sub else plural,
        )
        self.asked.add(asked)
        if not self._allowed(asked, found["group"] or ""):
            self.refused.append(asked)
            return status_of(403, f"{asked.account} cannot {asked.verb} {asked.resource}")
        if name:
            return await self._on_one(plural, name, asked, request)
        if asked.verb == "create":
            return await self._create(plural, found["namespace"], await request.json())
        if asked.verb == "watch":
            return await self._watch(plural, request)
        chosen = self._chosen(plural, request)
        if asked.verb == "list":
            return web.json_response(list_of(chosen))
        for each in chosen:
            self._remove(plural, each["metadata"]["name"])
        return status_of(200, "deleted")

    async def _on_one(
        self, plural: str, name: str, asked: Asked, request: web.Request
    ) -> web.StreamResponse:
        document = self.objects.get(plural, {}).get(name)
        if document is None:
            return status_of(404, f'{plural} "{name}" not found')
        if asked.resource == "pods/log":
            return await self._log(name, request)
        if asked.verb == "delete":
            self._remove(plural, name)
        elif asked.verb == "patch":
            labels = (await request.json()).get("metadata", {}).get("labels") or {}
            document["metadata"].setdefault("labels", {}).update(labels)
        return web.json_response(document)

    def _allowed(self, asked: Asked, group: str) -> bool:
        return any(
            group in rule["apiGroups"]
            and asked.resource in rule["resources"]
            and asked.verb in rule["verbs"]
            for rule in self.rules.get(asked.account, [])
        )

    def _chosen(self, plural: str, request: web.Request) -> list[Document]:
        labels = selector_terms(request.query.get("labelSelector", ""))
        fields = selector_terms(request.query.get("fieldSelector", ""))
        return [
            each
            for each in self.objects.get(plural, {}).values()
            if all((each["metadata"].get("labels", {}).get(k) == v) == is_ for k, v, is_ in labels)
            and all((field_of(each, k) == v) == is_ for k, v, is_ in fields)
        ]

    async def _create(self, plural: str, namespace: str, body: Document) -> web.Response:
        self.created.append(copy.deepcopy(body))
        body["metadata"] |= {
            "namespace": namespace,
            "uid": f"uid-{len(self.created)}",
            "creationTimestamp": _NOW,
        }
        self._changed(body)
        self.objects.setdefault(plural, {})[body["metadata"]["name"]] = body
        if plural == "sparkapplications":
            self._start(self._submit(body))
        elif plural == "pods":
            self._start(self._run_executor(body))
        return web.json_response(body, status=201)

    def _start(self, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _submit(self, application: Document) -> None:
        """What the operator does: spark-submit in cluster mode, and the state of the driver."""
        metadata, spec = application["metadata"], application["spec"]
        name, driver = f"{metadata['name']}-driver", spec["driver"]
        account = driver["serviceAccount"]
        pod: Document = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": metadata["namespace"],
                "uid": "uid-driver",
                "creationTimestamp": _NOW,
                "labels": {**driver["labels"], "spark-role": "driver"},
            },
            "spec": {
                "serviceAccountName": account,
                "containers": [{"name": "spark-kubernetes-driver", "image": spec["image"]}],
            },
        }
        self.created.append(copy.deepcopy(pod))
        self.objects.setdefault("pods", {})[name] = pod
        self._set(pod, "Running", {"running": {"startedAt": _NOW}})
        application["status"] = {"applicationState": {"state": "RUNNING"}}
        token = self.folder / name
        token.write_text(account)
        executor = spec["executor"]
        conf = {
            **spec["sparkConf"],
            "spark.kubernetes.submitInDriver": "true",
            "spark.kubernetes.driver.master": self.url,
            "spark.kubernetes.driver.pod.name": name,
            "spark.kubernetes.namespace": metadata["namespace"],
            "spark.kubernetes.authenticate.driver.mounted.oauthTokenFile": str(token),
            "spark.kubernetes.container.image": spec["image"],
            "spark.executor.instances": str(executor["instances"]),
            "spark.executor.cores": str(executor["cores"]),
            "spark.executor.memory": executor["memory"],
            "spark.executor.memoryOverhead": executor["memoryOverhead"],
            "spark.kubernetes.authenticate.executor.serviceAccountName": executor["serviceAccount"],
            **{f"spark.kubernetes.executor.label.{k}": v for k, v in executor["labels"].items()},
            **self.spark.conf,
        }
        command = [str(self.spark.home / "bin" / "spark-submit"), "--deploy-mode", "client"]
        command += ["--master", f"k8s://{self.url}", "--name", metadata["name"]]
        for key, value in conf.items():
            command += ["--conf", f"{key}={value}"]
        command += [str(self.spark.application), *spec["arguments"]]
        code = await self._run(pod, command, self._environment(driver))
        state = "FAILED" if code else "COMPLETED"
        application["status"] = {"applicationState": {"state": state}}

    async def _run_executor(self, pod: Document) -> None:
        """What a kubelet does with an executor's pod, after the operator's webhook has seen it."""
        name = pod["metadata"]["name"]
        [application] = self.objects["sparkapplications"].values()
        environment = self._environment(application["spec"]["executor"])
        known = {"status.podIP": "127.0.0.1", "metadata.name": name}
        for each in pod["spec"]["containers"][0]["env"]:
            source = each.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            environment[each["name"]] = known[source] if source else each.get("value", "")
        # As the entrypoint of the image.
        command = [environment.get("JAVA", "java")]
        options = (k for k in environment if k.startswith("SPARK_JAVA_OPT_"))
        command += [environment[k] for k in sorted(options, key=lambda k: int(k[15:]))]
        command += [
            f"-Xmx{environment['SPARK_EXECUTOR_MEMORY']}",
            "-cp",
            str(self.spark.home / "jars" / "*"),
        ]
        command += ["org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"]
        for option, variable in (
            ("driver-url", "SPARK_DRIVER_URL"),
            ("executor-id", "SPARK_EXECUTOR_ID"),
            ("cores", "SPARK_EXECUTOR_CORES"),
            ("app-id", "SPARK_APPLICATION_ID"),
            ("hostname", "SPARK_EXECUTOR_POD_IP"),
            ("resourceProfileId", "SPARK_RESOURCE_PROFILE_ID"),
            ("podName", "SPARK_EXECUTOR_POD_NAME"),
        ):
            command += [f"--{option}", environment[variable]]
        pod["status"] = {"podIP": "127.0.0.1"}
        self._set(pod, "Running", {"running": {"startedAt": _NOW}})
        await self._run(pod, command, environment)

    def _environment(self, role: Document) -> dict[str, str]:
        made = dict(self.spark.environment)
        for reference in role["envFrom"]:
            made |= self.spark.secrets[reference["secretRef"]["name"]]
        return made | {each["name"]: each["value"] for each in role["env"]}

    async def _run(self, pod: Document, command: list[str], environment: dict[str, str]) -> int:
        name = pod["metadata"]["name"]
        lines = self.logs.setdefault(name, [])
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self.processes[name] = process
        assert process.stdout
        async for line in process.stdout:
            lines.append(line.decode(errors="replace").rstrip())
        code = await process.wait()
        code = 128 - code if code < 0 else code
        ended = {"exitCode": code, "startedAt": _NOW, "finishedAt": _NOW}
        ended["reason"] = "Error" if code else "Completed"
        if code:
            # As terminationMessagePolicy FallbackToLogsOnError does.
            ended["message"] = "\n".join(lines[-20:])
        self._set(pod, "Failed" if code else "Succeeded", {"terminated": ended})
        return code

    def _set(self, pod: Document, phase: str, state: Document) -> None:
        container = pod["spec"]["containers"][0]
        pod["status"] = {
            **pod.get("status", {}),
            "phase": phase,
            "conditions": [{"type": "Ready", "status": str("running" in state)}],
            "startTime": _NOW,
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": container["image"],
                    "ready": "running" in state,
                    "restartCount": 0,
                    "state": state,
                }
            ],
        }
        self._changed(pod)

    def _changed(self, document: Document) -> None:
        self._version += 1
        document["metadata"]["resourceVersion"] = str(self._version)

    def _remove(self, plural: str, name: str) -> None:
        self.objects[plural].pop(name)
        self.kill(name, signal.SIGTERM)
        if plural == "sparkapplications":
            # Kubernetes removes what an application owns.
            self.objects["pods"].pop(f"{name}-driver", None)
            self.kill(f"{name}-driver", signal.SIGTERM)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Ends a pod's process as a kubelet or the kernel would."""
        process = self.processes.get(name)
        if process and process.returncode is None:
            os.killpg(process.pid, number)

    async def _watch(self, plural: str, request: web.Request) -> web.StreamResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        sent: dict[str, str] = {}
        while not response.closed:
            for each in self._chosen(plural, request):
                name, version = each["metadata"]["name"], each["metadata"]["resourceVersion"]
                if sent.get(name) == version:
                    continue
                event = {"type": "MODIFIED" if name in sent else "ADDED", "object": each}
                sent[name] = version
                await response.send_str(json.dumps(event))
            with contextlib.suppress(TimeoutError):
                await response.receive(timeout=0.1)
        return response

    async def _log(self, name: str, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        sent = 0
        while True:
            running = self.objects["pods"].get(name, {}).get("status", {}).get("phase") == "Running"
            lines = self.logs.get(name, [])
            for line in lines[sent:]:
                await response.write(f"{_NOW} {line}\n".encode())
            sent = len(lines)
            if not running or request.query.get("follow") not in ("true", "True"):
                break
            await asyncio.sleep(0.1)
        await response.write_eof()
        return response
