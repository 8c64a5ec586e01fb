"""Which worker of a distributed training this process is, as Kubernetes tells it."""

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
class Place:
    """One worker among all; the first is the chief, who alone writes the release.

    Attributes:
        index: from 0.
        count: of workers.
        tf_config: as TensorFlow wants to be told.
    """

    index: int
    count: int
    tf_config: str


def place(environ: Mapping[str, str]) -> Place | None:
    """This process's place, or None where it trains alone.

    An Indexed Job names its pods' hosts ``<job>-<index>`` and tells each its index; a headless
    Service makes ``<job>-<index>.<service>`` resolve. Where ``TF_CONFIG`` is given, it stands.

    Args:
        environ: the environment of the process.

    Raises:
        ConfigurationError: a variable is missing or makes no sense.
    """
    if environ.get(TF_CONFIG):
        return _given(environ[TF_CONFIG])
    count = _number(environ, contract.ENV_WORKERS, default="1")
    if count == 1:
        return None
    index = _number(environ, _INDEX)
    service = environ.get(contract.ENV_WORKER_SERVICE)
    host, suffix = environ.get(_HOST, ""), f"-{index}"
    if index >= count or count < 1:
        raise ConfigurationError(
            f"{_INDEX} is no place among {contract.ENV_WORKERS}", found=f"{index} of {count}"
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
    return Place(index, count, json.dumps({"cluster": {"worker": hosts}, "task": task}))


def _given(text: str) -> Place | None:
    try:
        told: Any = json.loads(text)
        hosts, task = told["cluster"]["worker"], told["task"]
        index = task["index"]
        sensible = task["type"] == "worker" and set(told["cluster"]) == {"worker"}
        sensible = sensible and type(index) is int and 0 <= index < len(hosts)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{TF_CONFIG} makes no sense", found=repr(error), expected='"cluster" and "task"'
        ) from error
    if not sensible:
        raise ConfigurationError(
            f"{TF_CONFIG} names no worker of this training",
            found=text,
            expected='only tasks of the type "worker"; the first is the chief',
        )
    return Place(index, len(hosts), text) if len(hosts) > 1 else None


def _number(environ: Mapping[str, str], name: str, default: str = "") -> int:
    text = environ.get(name) or default
    if not text.isdecimal():
        raise ConfigurationError(f"{name} is no number", found=text or "nothing")
    return int(text)
