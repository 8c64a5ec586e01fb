"""The verifier's measurement of a candidate: asked for with a key, accepted by its seal.

The verifier has the trainer's account, which may write to the inbox only. So the pipeline makes a
key that this account cannot read, gives it to the verifier's process, and takes from the inbox
only what was sealed with it.
"""

from __future__ import annotations

import logging
import secrets
from typing import Final

from recsys import contract
from recsys.contract import MeasuredMetrics
from recsys.errors import ArtifactError
from recsys.ledger import Release
from recsys.object_store import ObjectStore
from recsys.releases.bounds import read_bounded

log = logging.getLogger(__name__)

_KEY_BYTES: Final = 32


def expect_measurement(store: ObjectStore, release_id: str) -> str:
    """Returns the key that seals the measurement of a release, in hex digits.

    A retry gets the same one: the process of an earlier try may still be measuring.
    """
    return awaited_key(store, contract.seal_key(release_id))


def awaited_key(store: ObjectStore, key: str) -> str:
    """Returns the key of a seal, in hex digits, that is stored in an object; creates it once."""
    found = store.find_bytes(key)
    if found is None:
        store.create_bytes(key, secrets.token_hex(_KEY_BYTES).encode())
        found = store.get_bytes(key)
    return found.decode()


def accept_measurement(store: ObjectStore, release: Release, manifest_sha256: str) -> None:
    """Stores the measurement in a release's inbox with the release, if there is one.

    Args:
        store: the object store.
        release: the release that was measured.
        manifest_sha256: of its manifest.

    Raises:
        ArtifactError: it is too large, sealed with another key, or of other files.
    """
    source = contract.inbox_key(release.release_id, release.run_nonce, contract.MEASURED_FILE)
    sealed = read_bounded(store, source, contract.MEASURED_FILE)
    if sealed is None:
        return
    key = store.find_bytes(contract.seal_key(release.release_id))
    if key is None:
        raise ArtifactError(
            f"nobody asked for the measurement in {source}",
            hint="clear verify_candidate to measure again; find out who wrote it",
        )
    data = contract.unseal(sealed, key.decode())
    _check(MeasuredMetrics.from_json(data), release.release_id, manifest_sha256)
    store.put_bytes(contract.release_key(release.release_id, contract.MEASURED_FILE), data)
    # In this order: a retry after a kill finds the measurement, and needs the key no more.
    store.delete([source])
    forget_measurement(store, release.release_id)
    log.info("stored the measurement of release %s", release.release_id)


def forget_measurement(store: ObjectStore, release_id: str) -> None:
    """Deletes the key of a measurement that is not awaited any more."""
    store.delete([contract.seal_key(release_id)])


def find_measurement(
    store: ObjectStore, release_id: str, manifest_sha256: str | None
) -> MeasuredMetrics | None:
    """Returns the stored measurement of a release; None if an earlier pipeline judged it.

    Args:
        store: the object store.
        release_id: the release.
        manifest_sha256: of its manifest.

    Raises:
        ArtifactError: it is not a measurement of these files.
    """
    key = contract.release_key(release_id, contract.MEASURED_FILE)
    data = read_bounded(store, key, contract.MEASURED_FILE)
    if data is None:
        return None
    measured = MeasuredMetrics.from_json(data)
    _check(measured, release_id, manifest_sha256)
    return measured


def read_measurement(store: ObjectStore, release_id: str, manifest_sha256: str) -> MeasuredMetrics:
    """Returns the measurement of a candidate, which must have one; raises ArtifactError."""
    found = find_measurement(store, release_id, manifest_sha256)
    if found is None:
        raise ArtifactError(
            f"release {release_id} was not measured",
            expected=contract.release_key(release_id, contract.MEASURED_FILE),
            hint="clear verify_candidate: it measures what the gate judges",
        )
    return found


def _check(measured: MeasuredMetrics, release_id: str, manifest_sha256: str | None) -> None:
    for name, found, expected in (
        ("release", measured.release_id, release_id),
        ("manifest", measured.manifest_sha256, manifest_sha256),
    ):
        if found != expected:
            raise ArtifactError(
                f"the measurement of release {release_id} is of another {name}",
                found=found,
                expected=expected,
                hint="clear verify_candidate to measure again",
            )
