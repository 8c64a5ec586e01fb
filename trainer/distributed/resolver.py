"""Resolves which worker of a distributed training this process is, from its environment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from recsys import contract
from recsys.errors import ConfigurationError

TF_CONFIG: Final = "TF_CONFIG"
PORT: Final = 2222
_INDEX: Final = "JOB_COMPLETION_INDEX"
_HOST: Final = "HOSTNAME"


@dataclass(frozen=True)
class WorkerTask:
    """One worker of a distributed training; worker 0 is the chief, which writes the release.

    Attributes:
        index: index of this worker, from 0.
        count: number of workers.
        tf_config: value of ``TF_CONFIG``: cluster and task as JSON.
    """

    index: int
    count: int
    tf_config: str


def resolve_worker_task(environ: Mapping[str, str]) -> WorkerTask | None:
    """Returns this process's task, or None if it is the only worker.

    In an Indexed Job, a pod's host name is ``<job>-<index>`` and its index is an environment
    variable; with a headless Service, ``<job>-<index>.<service>`` resolves to the pod. If
    ``TF_CONFIG`` is set, it is used instead.

    Args:
        environ: the process's environment variables.

    Raises:
        ConfigurationError: a variable is missing or invalid.
    """
    if environ.get(TF_CONFIG):
        return _parse_tf_config(environ[TF_CONFIG])
    count = _number(environ, contract.ENV_WORKERS, default="1")
    if count == 1:
        return None
    index = _number(environ, _INDEX)
    service = environ.get(contract.ENV_WORKER_SERVICE)
    host, suffix = environ.get(_HOST, ""), f"-{index}"
    if index >= count or count < 1:
        raise ConfigurationError(
            f"{_INDEX} is not an index below {contract.ENV_WORKERS}", found=f"{index} of {count}"
        )
    if not service or not host.endswith(suffix) or host == suffix:
        raise ConfigurationError(
            "the workers of this training cannot find each other",
            found=f"{contract.ENV_WORKER_SERVICE}={service or ''}, {_HOST}={host}",
            expected=f"a headless Service, and a host named <job>{suffix}",
            hint="start the trainer as an Indexed Job, as RECSYS_TRAINER_WORKERS does",
        )
    job = host.removesuffix(suffix)
    hosts = [f"{job}-{worker}.{service}:{PORT}" for worker in range(count)]
    task = {"type": "worker", "index": index}
    return WorkerTask(index, count, json.dumps({"cluster": {"worker": hosts}, "task": task}))


def _parse_tf_config(text: str) -> WorkerTask | None:
    try:
        config: Any = json.loads(text)
        hosts, task = config["cluster"]["worker"], config["task"]
        index = task["index"]
        valid = task["type"] == "worker" and set(config["cluster"]) == {"worker"}
        valid = valid and type(index) is int and 0 <= index < len(hosts)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{TF_CONFIG} is invalid", found=repr(error), expected='"cluster" and "task"'
        ) from error
    if not valid:
        raise ConfigurationError(
            f"{TF_CONFIG} does not name a worker of its cluster",
            found=text,
            expected='a cluster that has only the task type "worker"; worker 0 is the chief',
        )
    return WorkerTask(index, len(hosts), text) if len(hosts) > 1 else None


def _number(environ: Mapping[str, str], name: str, default: str = "") -> int:
    text = environ.get(name) or default
    if not text.isdecimal():
        raise ConfigurationError(f"{name} is not a number", found=text or "nothing")
    return int(text)
