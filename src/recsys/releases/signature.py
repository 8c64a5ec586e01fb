"""The signature of a release in S3: over manifest, artifacts, measurement and provenance.

It is written before the ledger calls the release complete. So a process that is killed in between
is followed by one that signs again, and a complete release of a pipeline with a key is signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from recsys import contract, signing
from recsys.contract import MANIFEST_FILE, MEASURED_FILE, PROVENANCE_FILE, SIGNATURE_FILE, Manifest
from recsys.errors import ArtifactError, ConfigurationError
from recsys.ledger import Release
from recsys.object_store import ObjectStore
from recsys.releases.provenance import table_digests
from recsys.signing import Provenance, PublicKey, SignedFiles, SigningKey

NOT_SIGNED: Final = frozenset({SIGNATURE_FILE, contract.REPORT_FILE, contract.TRAINER_LOG_FILE})
"""Files of a release that are written later or again, and that nothing is decided by."""
_SMALL: Final = (MANIFEST_FILE, MEASURED_FILE, PROVENANCE_FILE)
_MAX_BYTES: Final = 4 << 20
_RESTORE: Final = "restore it from a backup, or use another release"


@dataclass(frozen=True)
class SignedRelease:
    """A valid signature of a release."""

    key: PublicKey
    files: Mapping[str, str]


def write_signature(
    store: ObjectStore, manifest: Manifest, manifest_sha256: str, provenance: bytes, key: SigningKey
) -> bytes:
    """Signs the files of a release; returns the signature, which is stored with them.

    The provenance is written first: without its signature, it proves nothing.

    Args:
        store: the bucket.
        manifest: of the release, whose artifacts were compared with it.
        manifest_sha256: of its bytes.
        provenance: the statement about how it was made.
        key: the private key.
    """
    release_id = manifest.release_id
    name = contract.release_key(release_id, PROVENANCE_FILE)
    if store.find_bytes(name) != provenance:
        store.put_bytes(name, provenance)
    files = {
        MANIFEST_FILE: manifest_sha256,
        PROVENANCE_FILE: hashlib.sha256(provenance).hexdigest(),
        **{artifact.name: artifact.sha256 for artifact in manifest.artifacts},
    }
    measured = store.find_content(contract.release_key(release_id, MEASURED_FILE))
    if measured is not None:
        files[MEASURED_FILE] = measured.sha256
    statement = signing.make_statement(release_id, files, NOT_SIGNED)
    signature = signing.make_bundle(statement, key)
    store.put_bytes(contract.release_key(release_id, SIGNATURE_FILE), signature)
    return signature


def check_trusted(key: SigningKey, trusted: Sequence[PublicKey]) -> None:
    """Raises ConfigurationError if the signatures of a key would be refused here."""
    if trusted and key.public not in trusted:
        raise ConfigurationError(
            "the signing key is not among the public keys that releases are verified with",
            found=f"key {key.public.fingerprint}",
            expected=f"key {' or '.join(each.fingerprint for each in trusted)}",
            hint="add its public key to RECSYS_VERIFICATION_KEYS first, also of the site",
        )


def find_signature(store: ObjectStore, release_id: str) -> bytes | None:
    """Returns the stored signature of a release; None if it is not signed."""
    key = contract.release_key(release_id, SIGNATURE_FILE)
    found = store.head(key)
    if found is not None and found.size > _MAX_BYTES:
        raise ArtifactError(
            f"{key} is too large",
            found=f"{found.size} bytes",
            expected=f"at most {_MAX_BYTES} bytes",
            hint=_RESTORE,
        )
    return store.find_bytes(key) if found is not None else None


def read_signature(store: ObjectStore, release_id: str, keys: Sequence[PublicKey]) -> SignedRelease:
    """Returns the files that the signature of a release covers, if a trusted key made it.

    Raises:
        ArtifactError: the release is not signed, or its signature is not valid for it.
    """
    name = contract.release_key(release_id, SIGNATURE_FILE)
    data = find_signature(store, release_id)
    if data is None:
        raise ArtifactError(
            f"release {release_id} is not signed",
            found=f"no {name}",
            expected=f"a signature of key {' or '.join(key.fingerprint for key in keys)}",
            hint="if it was made before releases were signed: `recsys sign` checks and signs it",
        )
    verified = signing.verify_bundle(data, keys, name)
    signed: SignedFiles = signing.parse_statement(verified.payload, name)
    if signed.release_id != release_id:
        raise ArtifactError(
            f"{name} is the signature of another release",
            found=signed.release_id,
            expected=release_id,
            hint=_RESTORE,
        )
    return SignedRelease(verified.key, signed.sha256)


def check_signature(
    store: ObjectStore, release: Release, keys: Sequence[PublicKey]
) -> SignedRelease:
    """Compares a complete release with what was signed; the artifacts agree with its manifest.

    Raises:
        ArtifactError: it is not signed with a trusted key, or a file or the ledger's row of the
            release differs from what was signed.
    """
    signed = read_signature(store, release.release_id, keys)
    manifest = release.complete_manifest
    stated = {artifact.name: artifact.sha256 for artifact in manifest.artifacts}
    for name in _SMALL:
        found = store.find_content(contract.release_key(release.release_id, name))
        if found is not None:
            stated[name] = found.sha256
    for name in sorted(stated.keys() | signed.files.keys()):
        if stated.get(name) != signed.files.get(name):
            raise ArtifactError(
                f"{contract.release_key(release.release_id, name)} is not what was signed",
                found=_shown(stated.get(name)),
                expected=_shown(signed.files.get(name)),
                hint=_RESTORE,
            )
    provenance = read_provenance(store, release.release_id)
    for fault in ledger_faults(release, manifest, signed.files[MANIFEST_FILE], provenance):
        raise ArtifactError(fault, hint="restore the row from a backup, or use another release")
    return signed


def read_provenance(store: ObjectStore, release_id: str) -> Provenance:
    """Returns the stored provenance; raises ArtifactError if there is none or it is damaged."""
    name = contract.release_key(release_id, PROVENANCE_FILE)
    return signing.parse_provenance(store.get_bytes(name), name)


def ledger_faults(
    release: Release, manifest: Manifest, manifest_sha256: str, provenance: Provenance
) -> Iterator[str]:
    """Yields which columns of a release's row in the ledger differ from what was signed.

    Args:
        release: the row.
        manifest: the signed manifest.
        manifest_sha256: of its bytes.
        provenance: the signed provenance, which has the digests of the tables.
    """
    build = manifest.build
    try:
        stored = release.complete_manifest
    except ArtifactError:
        yield _of_row(release, "manifest")
        return
    for column, found, expected in (
        ("release_id", release.release_id, manifest.release_id),
        ("manifest_sha256", release.manifest_sha256, manifest_sha256),
        ("manifest", stored, manifest),
        ("dataset_md5", release.dataset_md5, build.dataset_md5),
        ("fingerprint", release.fingerprint, manifest.fingerprint),
        ("build", release.build, build.model_dump(mode="json")),
    ):
        if found != expected:
            yield _of_row(release, column)
    for name, digest in table_digests(release).items():
        if provenance.subjects.get(name) != digest:
            yield _of_row(release, f"tables, of {name},")


def _of_row(release: Release, column: str) -> str:
    return (
        f"the row of release {release.release_id} in recsys.releases is not what was signed: "
        f"column {column} was changed"
    )


def _shown(sha256: str | None) -> str:
    return f"sha256 {sha256}" if sha256 else "no such file"
