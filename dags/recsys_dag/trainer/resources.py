"""Merges the resources of the trainer's pod template with those of the settings."""

from __future__ import annotations

from typing import Any

import yaml
from kubernetes.client import V1ResourceRequirements
from kubernetes.utils.quantity import parse_quantity

from recsys.errors import ConfigurationError
from recsys_dag.trainer.settings import PodSettings


def resources(pod_settings: PodSettings) -> V1ResourceRequirements | None:
    """Returns the template's resources, changed by ``RECSYS_TRAINER_POD_RESOURCES``.

    KubernetesPodOperator would replace the template's resources as a whole: a setting that adds a
    GPU would drop the requests for CPU and memory. Kubernetes rejects a request above its limit, so
    the one that the settings do not define follows the other.

    Returns:
        None if the settings define none: then the template's apply.

    Raises:
        ConfigurationError: the template cannot be read, or a quantity is invalid.
    """
    if not pod_settings.resources:
        return None
    template = _of_template(pod_settings)
    given = {kind: pod_settings.resources.get(kind, {}) for kind in ("requests", "limits")}
    requests = {**template.get("requests", {}), **given["requests"]}
    limits = {**template.get("limits", {}), **given["limits"]}
    for name in requests.keys() & limits.keys():
        try:
            exceeds = parse_quantity(requests[name]) > parse_quantity(limits[name])
        except ValueError as error:
            raise ConfigurationError(
                "RECSYS_TRAINER_POD_RESOURCES is invalid",
                found=f"{name}: {error}",
                expected='quantities of Kubernetes, e.g. "500m" or "8Gi"',
                hint="docs/deployment.md lists the settings of the trainer",
            ) from error
        if exceeds and name in given["limits"] and name not in given["requests"]:
            requests[name] = limits[name]
        elif exceeds and name not in given["limits"]:
            limits[name] = requests[name]
    return V1ResourceRequirements(requests=requests, limits=limits)


def _of_template(pod_settings: PodSettings) -> dict[str, dict[str, str]]:
    path = pod_settings.template
    try:
        [container, *_] = yaml.safe_load(path.read_text())["spec"]["containers"]
        found: Any = container.get("resources") or {}
        return {kind: dict(found.get(kind) or {}) for kind in ("requests", "limits")}
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(
            "the template of the trainer's pod cannot be used",
            found=f"{path}: {error!r}",
            expected="a Pod with spec.containers",
            hint="correct RECSYS_TRAINER_POD_TEMPLATE; k8s/trainer-pod.yaml is an example",
        ) from error
