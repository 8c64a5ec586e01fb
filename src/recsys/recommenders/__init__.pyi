from .alert_route import AlertRoute
from .description import Connections, Description
from .grants import bucket_policy, grants
from .kubernetes import kubernetes_manifests, kubernetes_objects, own_pod_fields
from .namespace import ENV_RECOMMENDER, FIRST_RECOMMENDER, Namespace, chosen_recommender
from .provision import problems, provision
from .reader import (
    ENV_FOLDER,
    Descriptions,
    build_text,
    description_schema,
    folder,
    read_description,
    read_descriptions,
    template,
)
from .removal import REMOVING, check_removable, remove
from .rights import COMMON, Right, dag_resources, dag_rights, in_words, role_commands
from .servers import postgres_of, s3_of, services_of
from .trainer import (
    DIGEST_PATTERN,
    IMAGE_PATTERN,
    RELEASE_LABEL,
    RESERVED_LABELS,
    ContainerFields,
    Launcher,
    PodFields,
    Trainer,
)

__all__ = [
    "COMMON",
    "DIGEST_PATTERN",
    "ENV_FOLDER",
    "ENV_RECOMMENDER",
    "FIRST_RECOMMENDER",
    "IMAGE_PATTERN",
    "RELEASE_LABEL",
    "REMOVING",
    "RESERVED_LABELS",
    "AlertRoute",
    "Connections",
    "ContainerFields",
    "Description",
    "Descriptions",
    "Launcher",
    "Namespace",
    "PodFields",
    "Right",
    "Trainer",
    "bucket_policy",
    "build_text",
    "check_removable",
    "chosen_recommender",
    "dag_resources",
    "dag_rights",
    "description_schema",
    "folder",
    "grants",
    "in_words",
    "kubernetes_manifests",
    "kubernetes_objects",
    "own_pod_fields",
    "postgres_of",
    "problems",
    "provision",
    "read_description",
    "read_descriptions",
    "remove",
    "role_commands",
    "s3_of",
    "services_of",
    "template",
]
