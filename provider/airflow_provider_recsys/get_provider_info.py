"""What Airflow reads about the provider: its modules, connection types and their form fields.

Airflow calls `get_provider_info` without importing any hook, so it imports nothing.
"""

from __future__ import annotations

from typing import Any, Final

_INTEGRATION: Final = "Recommender"
_PACKAGE: Final = "airflow_provider_recsys"
_READ_ONLY: Final = {
    "label": "Read only",
    "description": "The account may only read; the Test button then writes nothing.",
    "schema": {"type": ["boolean", "null"], "default": False},
}


def get_provider_info() -> dict[str, Any]:
    """Returns the provider's metadata in the form of Airflow's ``provider.yaml``."""
    return {
        "package-name": "airflow-provider-recsys",
        "name": "Recommender",
        "description": "Releases of a recommender: wait for them, use them, promote them.",
        "integrations": [{"integration-name": _INTEGRATION, "tags": ["software"]}],
        "hooks": _modules("hooks", "recommender"),
        "operators": _modules("operators", "release"),
        "sensors": _modules("sensors", "release"),
        "triggers": _modules("triggers", "release"),
        "connection-types": [_STORE, _VECTORS],
    }


def _modules(kind: str, name: str) -> list[dict[str, Any]]:
    return [{"integration-name": _INTEGRATION, "python-modules": [f"{_PACKAGE}.{kind}.{name}"]}]


_STORE: Final = {
    "connection-type": "recsys_store",
    "hook-class-name": f"{_PACKAGE}.hooks.recommender.RecommenderStoreHook",
    "hook-name": "Recommender store (S3)",
    "ui-field-behaviour": {
        "hidden-fields": ["host", "schema"],
        "relabeling": {
            "login": "Access key id",
            "password": "Secret access key",
            # Airflow 3.3 up to 3.3.2 tests no Connection without a port (apache/airflow#73298): its
            # UI sends 0 for one that is empty. So 0 is to be entered, although nothing reads it.
            "port": "Port (not used; enter 0)",
        },
        "placeholders": {"login": "empty: the identity of the machine", "port": "0"},
    },
    "conn-fields": {
        "bucket_name": {
            "label": "Bucket",
            "description": "The bucket that contains the releases.",
            "schema": {"type": "string", "minLength": 3, "maxLength": 63},
        },
        "key_prefix": {
            "label": "Prefix of keys",
            "description": "Only if several recommenders share the bucket, such as movies/.",
            "schema": {"type": ["string", "null"]},
        },
        "endpoint_url": {
            "label": "Endpoint",
            "description": "Address of the S3 server, such as https://s3.example.org; empty: AWS.",
            "schema": {"type": ["string", "null"], "format": "url"},
        },
        "region_name": {
            "label": "Region",
            "description": "Region of the bucket; empty: that of the machine, or us-east-1.",
            "schema": {"type": ["string", "null"]},
        },
        "read_only": _READ_ONLY,
    },
}
_VECTORS: Final = {
    "connection-type": "recsys_vectors",
    "hook-class-name": f"{_PACKAGE}.hooks.recommender.RecommenderVectorsHook",
    "hook-name": "Recommender vectors (pgvector)",
    "ui-field-behaviour": {
        "relabeling": {"schema": "Database"},
        "placeholders": {"host": "db.example.org", "port": "5432", "schema": "recsys"},
    },
    "conn-fields": {
        "sslmode": {
            "label": "TLS",
            "description": "How the connection is encrypted, and whether the server is verified.",
            "schema": {
                "type": ["string", "null"],
                "enum": ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
            },
        },
        "sslrootcert": {
            "label": "Certificate authority",
            "description": "File on the workers that verifies the server's certificate, or system.",
            "schema": {"type": ["string", "null"]},
        },
        "read_only": _READ_ONLY,
    },
}
