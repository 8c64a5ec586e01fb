"""The objects in Kubernetes that a recommender's trainer needs, in a namespace of its own."""

from __future__ import annotations

from importlib import resources
from typing import Any, Final

import yaml

from recsys.recommenders.description import Description
from recsys.recommenders.namespace import FIRST_RECOMMENDER, Namespace

_SHARED: Final = Namespace(FIRST_RECOMMENDER).kubernetes_namespace


def own_pod_fields(description: Description) -> dict[str, Any]:
    """Returns the fields of a recommender's pod that do not come from the variables.

    They are those of its description, and namespace and Secret: a pod of another recommender
    must not get the keys of the first one, which the variables name.
    """
    names = description.namespace
    derived = {
        "namespace": names.kubernetes_namespace,
        "secret": names.trainer_secret,
    }
    described = description.trainer.kubernetes
    own = {name: getattr(described, name) for name in described.model_fields_set}
    return own if names.is_first else derived | own


def kubernetes_objects(description: Description) -> list[dict[str, Any]]:
    """Returns the objects that a trainer's namespace needs, without its Secret.

    Args:
        description: the recommender; not the first one, whose objects are in ``k8s/base``.

    Returns:
        The manifests; none if its pods run in the namespace of the first one.
    """
    pod = own_pod_fields(description)
    namespace = pod["namespace"]
    if namespace == _SHARED:
        return []
    text = (resources.files(__package__) / "kubernetes.yaml").read_text(encoding="utf-8")
    documents = list(yaml.safe_load_all(text))
    for document in documents:
        metadata = document["metadata"]
        metadata["labels"] = {**metadata.get("labels", {}), "app.kubernetes.io/part-of": "recsys"}
        if document["kind"] == "Namespace":
            metadata["name"] = namespace
        else:
            metadata["namespace"] = namespace
        if document["kind"] == "ServiceAccount" and pod.get("service_account"):
            metadata["name"] = pod["service_account"]
    return documents


def kubernetes_manifests(description: Description) -> str:
    """Returns the manifests as YAML for ``kubectl apply -f -``, and how to make the Secret.

    The Secret is a comment: applied again without values, it would replace the keys.
    """
    pod = own_pod_fields(description)
    namespace = pod["namespace"]
    notes = []
    if pod.get("workload_identity"):
        notes += [
            "The service account needs the annotation with which your cluster gives it access",
            "to S3, as in k8s/components/aws.",
        ]
    else:
        notes += [
            "The Secret, from a file with the lines AWS_ACCESS_KEY_ID=... and",
            "AWS_SECRET_ACCESS_KEY=... of the trainer's account of S3:",
            f"  kubectl -n {namespace} create secret generic {pod['secret']} \\",
            "    --from-env-file=trainer.env",
        ]
    if pod.get("pull_secrets"):
        notes.append(f"Secrets of the registry to make there: {', '.join(pod['pull_secrets'])}.")
    objects = kubernetes_objects(description)
    if not objects:
        notes.insert(0, f"k8s/base has the objects of the namespace {namespace}.")
    comment = "".join(f"# {line}\n" for line in notes)
    if not objects:
        return comment
    return str(yaml.safe_dump_all(objects, sort_keys=False)) + comment
