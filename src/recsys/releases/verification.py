"""Verifies a release: a candidate after training, and every release before it is promoted."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from recsys import contract, vectors
from recsys.contract import Manifest
from recsys.database import Connection
from recsys.errors import ArtifactError, VectorError, first_invalid_field
from recsys.ledger import Release
from recsys.object_store import ObjectStore
from recsys.releases.signature import check_signature
from recsys.scratch import scratch_folder
from recsys.services import Services

# Sample queries on an index before a promotion; loading the table has already run more.
_SAMPLE_QUERIES: Final = 50
_MODELS: Final = (contract.MODEL_FILE, contract.EVALUATED_MODEL_FILE)


def read_manifest(store: ObjectStore, release_id: str) -> tuple[Manifest, str]:
    """Returns a release's manifest and the sha256 of its bytes.

    Raises:
        ArtifactError: the manifest is missing or does not have this schema.
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
    return parse_manifest(data, key), hashlib.sha256(data).hexdigest()


def parse_manifest(data: bytes, key: str, *, strict: bool | None = None) -> Manifest:
    """Reads a stored manifest.

    Args:
        data: its bytes.
        key: where it is stored, for the error.
        strict: whether every value must have exactly the type of its field.

    Raises:
        ArtifactError: it does not have this schema.
    """
    try:
        return Manifest.from_json(data, strict=strict)
    except ValidationError as error:
        raise ArtifactError(
            f"{key} is not a valid manifest",
            found=str(first_invalid_field(error)),
            expected=f"manifest schema {contract.MANIFEST_SCHEMA}",
            hint="it may come from another revision of the trainer: build its image again",
        ) from error


def check_run_manifest(manifest: Manifest, release: Release) -> None:
    """Raises ArtifactError unless the manifest was written by the run that the ledger expects."""
    contract.check_manifest(
        manifest,
        release_id=release.release_id,
        fingerprint=release.fingerprint,
        run_nonce=release.run_nonce,
    )


def check_artifacts(store: ObjectStore, manifest: Manifest) -> None:
    """Reads every artifact; raises ArtifactError if one is missing or not as the manifest says."""
    for artifact in manifest.artifacts:
        found = store.find_content(artifact.key)
        if found is None:
            raise ArtifactError(
                f"there is no {artifact.key} in the bucket {store.location}",
                hint="restore it from a backup, or use another release",
            )
        if (found.sha256, found.size) != (artifact.sha256, artifact.size):
            raise ArtifactError(
                f"{artifact.key} differs from its manifest",
                found=f"sha256 {found.sha256}, {found.size} bytes",
                expected=f"sha256 {artifact.sha256}, {artifact.size} bytes",
                hint="the file was changed or damaged: restore it, or use another release",
            )


def check_model_files(store: ObjectStore, manifest: Manifest) -> None:
    """Checks the members of the models' files; raises ArtifactError if one is not a model's.

    The trainer's image does it, too, before it loads one. But it may be the image that wrote them.
    """
    with scratch_folder("models") as work:
        for artifact in manifest.artifacts:
            if artifact.name in _MODELS:
                path = work / Path(artifact.name).name
                store.download(artifact.key, path, artifact.sha256)
                with path.open("rb") as file:
                    contract.check_model_file(file, artifact.key)


def check_release(conn: Connection, services: Services, release: Release) -> None:
    """Checks manifest, artifacts, signature and tables of a release before it is promoted.

    The signature is checked if public keys are configured; then also the content of the tables is
    compared with what was signed.

    The model is not loaded again: its sha256 shows that it is the file that `verify_candidate`
    loaded in a fresh process. So a rollback takes only as long as reading the files.

    Raises:
        LedgerError: the release is not complete.
        ArtifactError: the manifest or an artifact is missing or was changed, or it is not signed
            with a trusted key.
        VectorError: a table or a row is missing, an index finds too few neighbors, or a table has
            another content than was signed.
    """
    check_stored(conn, services.store, release)
    if services.trusted_keys:
        check_signature(services.store, release, services.trusted_keys)
        check_content(conn, release)


def check_stored(conn: Connection, store: ObjectStore, release: Release) -> None:
    """Does the checks of `check_release` that need no signature."""
    manifest = release.complete_manifest
    stored, sha256 = read_manifest(store, release.release_id)
    if sha256 != release.manifest_sha256:
        raise ArtifactError(
            f"the manifest of release {release.release_id} was changed",
            found=f"sha256 {sha256}",
            expected=f"sha256 {release.manifest_sha256}",
            hint="restore it, or use another release",
        )
    if stored != manifest:
        raise ArtifactError(
            f"the manifest of release {release.release_id} in the ledger was changed",
            found="another content than in S3",
            expected=f"the content with sha256 {sha256}",
            hint="restore the row from a backup, or use another release",
        )
    check_artifacts(store, manifest)
    check_tables(conn, release)


def check_content(conn: Connection, release: Release) -> None:
    """Reads all tables; raises VectorError if one has another content than was loaded."""
    for table in contract.PUBLIC_TABLES:
        facts = release.tables[table.name]
        if not vectors.content_is_as_loaded(
            conn, table, release.release_id, digest=facts["digest"], rows=facts["rows"]
        ):
            name = contract.table_name(table.name, release.release_id)
            raise VectorError(
                f"recsys.{name} has other content than was loaded",
                expected=f"rows with the digest {facts['digest']}",
                hint="roll back to another release, or restore the table from a backup",
            )


def check_tables(conn: Connection, release: Release) -> dict[str, vectors.VectorMeasurements]:
    """Checks that all tables of a release exist, are complete, and have working indexes.

    Raises:
        VectorError: a table or a row is missing, or an index finds too few neighbors.
    """
    measurements = {}
    for table in contract.PUBLIC_TABLES:
        recorded = release.tables.get(table.name)
        if recorded is None:
            raise VectorError(
                f"{table.name} of release {release.release_id} was never loaded",
                hint="run the pipeline again",
            )
        measurements[table.name] = vectors.check_vectors(
            conn,
            table,
            release.release_id,
            expected_rows=recorded["rows"],
            sample=_SAMPLE_QUERIES,
        )
    return measurements
