"""Is a release what it claims to be? Asked of a candidate, and again before every switch."""

from __future__ import annotations

import hashlib
from typing import Final

from pydantic import ValidationError

from recsys import contract, vectors
from recsys.contract import Manifest
from recsys.database import Connection
from recsys.errors import ArtifactError, VectorError, first_invalid_field
from recsys.ledger import Release
from recsys.object_store import ObjectStore

# Queries asked of an index before a switch; when it was loaded it was asked more.
_SAMPLE: Final = 50


def read_manifest(store: ObjectStore, release_id: str) -> tuple[Manifest, str]:
    """A release's manifest and the sha256 of its bytes.

    Raises:
        ArtifactError: there is none, or it is not a manifest of this schema.
    """
    key = contract.release_key(release_id, contract.MANIFEST_FILE)
    try:
        data = store.get_bytes(key)
    except ArtifactError as error:
        raise ArtifactError(
            f"release {release_id} has no manifest",
            expected=key,
            hint="its training did not finish: run the pipeline again",
        ) from error
    try:
        manifest = Manifest.from_json(data)
    except ValidationError as error:
        raise ArtifactError(
            f"{key} is not a manifest that this code understands",
            found=str(first_invalid_field(error)),
            expected=f"manifest schema {contract.MANIFEST_SCHEMA}",
            hint="was it written by another revision of the trainer? build its image again",
        ) from error
    return manifest, hashlib.sha256(data).hexdigest()


def check_manifest(manifest: Manifest, release: Release) -> None:
    """Raises ArtifactError unless the manifest is of this release, this build and this run."""
    for name, found, expected in (
        ("release id", manifest.release_id, release.release_id),
        ("build fingerprint", manifest.fingerprint, release.fingerprint),
        ("run nonce", manifest.run_nonce, release.run_nonce),
    ):
        if found != expected:
            raise ArtifactError(
                f"the manifest of release {release.release_id} has another {name}",
                found=found,
                expected=expected,
                hint="another trainer wrote it: clear train_dl_model to train again",
            )


def check_artifacts(store: ObjectStore, manifest: Manifest) -> None:
    """Reads every artifact; raises ArtifactError where one is gone or its sha256 differs."""
    for artifact in manifest.artifacts:
        found = store.sha256(artifact.key)
        if found != artifact.sha256:
            raise ArtifactError(
                f"{artifact.key} is not the file that its manifest names",
                found=f"sha256 {found}",
                expected=f"sha256 {artifact.sha256}",
                hint="it was changed or damaged: restore it, or use another release",
            )


def check_release(conn: Connection, store: ObjectStore, release: Release) -> None:
    """Checks a complete release before it is switched to: manifest, artifacts, tables.

    The bytes of the model are those that `verify_candidate` loaded in a fresh process, because
    their sha256 is; so the model is not loaded again, and a rollback takes no longer than reading.

    Raises:
        LedgerError: the release is not complete.
        ArtifactError: its manifest or an artifact is gone or changed.
        VectorError: a table is gone, lacks a row, or its index does not answer.
    """
    manifest = release.complete_manifest
    _, sha256 = read_manifest(store, release.release_id)
    if sha256 != release.manifest_sha256:
        raise ArtifactError(
            f"the manifest of release {release.release_id} was changed",
            found=f"sha256 {sha256}",
            expected=f"sha256 {release.manifest_sha256}",
            hint="restore it, or use another release",
        )
    check_artifacts(store, manifest)
    check_tables(conn, release)


def check_tables(conn: Connection, release: Release) -> dict[str, vectors.VectorMeasurements]:
    """Checks that all of a release's tables are there, whole, and answer by their index.

    Raises:
        VectorError: one is not.
    """
    reports = {}
    for table in contract.PUBLIC_TABLES:
        facts = release.tables.get(table.name)
        if facts is None:
            raise VectorError(
                f"{table.name} of release {release.release_id} was never loaded",
                hint="run the pipeline again",
            )
        reports[table.name] = vectors.check_vectors(
            conn,
            table,
            release.release_id,
            expected_rows=facts["rows"],
            sample=_SAMPLE,
        )
    return reports
