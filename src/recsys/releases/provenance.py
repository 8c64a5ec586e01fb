"""The provenance of a release, from what ledger, manifest and bucket know about it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from recsys import contract, ledger, signing
from recsys.contract import (
    DATASET_FILE,
    INTERACTIONS_FILE,
    LEDGER_SCHEMA,
    MANIFEST_FILE,
    MEASURED_FILE,
    MOVIES_FILE,
    PUBLIC_TABLES,
    Manifest,
    table_name,
)
from recsys.database import Connection
from recsys.ledger import Release
from recsys.object_store import ObjectStore
from recsys.signing import Resource

ROWS_DIGEST: Final = "recsysRows"
"""Name of the digest of a table's rows, in the order in which they were loaded."""
_ENVIRONMENT: Final = (
    "python",
    "keras",
    "tensorflow",
    "numpy",
    "polars",
    "packages",
    "hardware",
    "code_revision",
)


def describe_release(
    conn: Connection,
    store: ObjectStore,
    release: Release,
    manifest: Manifest,
    manifest_sha256: str,
    *,
    source: str | None,
) -> bytes:
    """Returns the provenance of a release as JSON.

    Args:
        conn: the ledger.
        store: the bucket; dataset and features are read.
        release: the release.
        manifest: its manifest.
        manifest_sha256: of the manifest's bytes.
        source: the dataset's source without credentials, if its run is signing; None for a person
            who signs later.
    """
    build, lineage = manifest.build, manifest.lineage
    external: dict[str, Any] = {"dataset_md5": build.dataset_md5, "settings": build.settings}
    if source is not None:
        external["source"] = source
    return signing.make_provenance(
        subjects=_subjects(store, release, manifest, manifest_sha256),
        dependencies=_dependencies(store, release, manifest),
        external=external,
        internal={
            "signed": "by the run" if source is not None else "later, by a person",
            "fingerprint": manifest.fingerprint,
            "environment": {name: lineage[name] for name in _ENVIRONMENT if name in lineage},
            "seed": lineage.get("seed"),
        },
        builder=f"urn:uuid:{ledger.ledger_id(conn)}",
        versions={"recsys": _version()},
        invocation=release.run_id,
        started=release.created_at,
        finished=manifest.created_at,
    )


def table_digests(release: Release) -> dict[str, dict[str, str]]:
    """Returns the digest of each public table of a release, by the table's name."""
    return {
        f"{LEDGER_SCHEMA}.{table_name(table.name, release.release_id)}": {
            ROWS_DIGEST: str((release.tables.get(table.name) or {}).get("digest"))
        }
        for table in PUBLIC_TABLES
    }


def _subjects(
    store: ObjectStore, release: Release, manifest: Manifest, manifest_sha256: str
) -> list[Resource]:
    files = {artifact.name: artifact.sha256 for artifact in manifest.artifacts}
    files[MANIFEST_FILE] = manifest_sha256
    measured = store.find_content(contract.release_key(release.release_id, MEASURED_FILE))
    if measured is not None:
        files[MEASURED_FILE] = measured.sha256
    subjects = [
        Resource(
            name, {"sha256": sha256}, _uri(store, contract.release_key(release.release_id, name))
        )
        for name, sha256 in sorted(files.items())
    ]
    return subjects + [Resource(name, digest) for name, digest in table_digests(release).items()]


def _dependencies(store: ObjectStore, release: Release, manifest: Manifest) -> list[Resource]:
    """Returns dataset, features and trainer; objects that retention has deleted are left out."""
    md5 = manifest.build.dataset_md5
    found = []
    for key, more in (
        (contract.dataset_key(md5, DATASET_FILE), {"md5": md5}),
        (contract.features_key(release.features_prefix, INTERACTIONS_FILE), {}),
        (contract.features_key(release.features_prefix, MOVIES_FILE), {}),
    ):
        content = store.find_content(key)
        if content is not None:
            digest = {"sha256": content.sha256, **more}
            found.append(Resource(key, digest, _uri(store, key)))
    trainer = manifest.build.trainer_digest.removeprefix("sha256:")
    revision = manifest.lineage.get("code_revision")
    annotations = {"code_revision": revision} if revision else {}
    return [*found, Resource("trainer", {"sha256": trainer}, annotations=annotations)]


def _uri(store: ObjectStore, key: str) -> str:
    return store.url(key)


def _version() -> str:
    try:
        return version("recsys")
    except PackageNotFoundError:
        return "unknown"
