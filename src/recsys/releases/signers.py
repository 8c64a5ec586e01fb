"""Who signs: the run that made a release, or later a person with the key.

A run signs only what it completes itself. It never signs a release that was complete before:
somebody who can change the bucket and the ledger could otherwise have a changed release signed by
running its build again.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

from recsys import contract, ledger
from recsys.contract import PROVENANCE_FILE, Manifest
from recsys.database import Connection
from recsys.errors import LedgerError
from recsys.ledger import Action, Actor, Release, State
from recsys.object_store import ObjectStore
from recsys.releases.provenance import describe_release
from recsys.releases.signature import (
    check_signature,
    check_trusted,
    find_signature,
    write_signature,
)
from recsys.releases.verification import check_content, check_stored
from recsys.services import Services
from recsys.signing import SigningKey

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Signed:
    """Result of `sign_release`.

    Attributes:
        release_id: the release.
        key: fingerprint of the key of its signature.
        previous_key: that of the signature before; None if it was not signed.
        changed: False if this key had signed it already.
    """

    release_id: str
    key: str
    previous_key: str | None
    changed: bool


def sign_candidate(
    conn: Connection,
    services: Services,
    manifest: Manifest,
    manifest_sha256: str,
    key: SigningKey,
    *,
    source: str,
) -> None:
    """Signs the release of a run before the ledger calls it complete.

    Args:
        conn: the ledger.
        services: the bucket, and the public keys that verify releases.
        manifest: of the release; its files were compared with it.
        manifest_sha256: of its bytes.
        key: the private key.
        source: the dataset's source without credentials.

    Raises:
        ConfigurationError: no configured public key belongs to the private key.
    """
    check_trusted(key, services.trusted_keys)
    release = ledger.get(conn, manifest.release_id)
    if release.completed_at is not None:
        return
    made = describe_release(conn, services.store, release, manifest, manifest_sha256, source=source)
    write_signature(services.store, manifest, manifest_sha256, made, key)
    log.info("signed release %s with key %s", release.release_id, key.public.fingerprint)


def note_signature(
    conn: Connection, store: ObjectStore, release_id: str, actor: Actor, run_id: str | None
) -> None:
    """Records the signature of a release in the history, once; nothing if it is not signed."""
    signature = find_signature(store, release_id)
    if signature is None:
        log.warning("release %s was complete before it could be signed", release_id)
        return
    sha256 = hashlib.sha256(signature).hexdigest()
    ledger.note_once(
        conn,
        Action.RELEASE_SIGNED,
        actor=actor,
        release_id=release_id,
        run_id=run_id,
        once=f"{release_id} {sha256}",
    )


def sign_release(services: Services, release_id: str, key: SigningKey, *, actor: Actor) -> Signed:
    """Signs a complete release on behalf of a person: an older one, or again with a new key.

    All its files and tables are checked first. A signature that is there must be valid: a release
    that was changed since it was signed is not signed again.

    Raises:
        ConfigurationError: no configured public key belongs to the private key.
        LedgerError: the release is not complete or was retired.
        ArtifactError, VectorError: a file or a table differs from ledger, manifest or signature.
    """
    check_trusted(key, services.trusted_keys)
    with services.connect() as conn:
        ledger.check_current(conn)
        release = ledger.get(conn, release_id)
        _check_state(release)
        check_stored(conn, services.store, release)
        check_content(conn, release)
        previous = None
        if find_signature(services.store, release_id) is not None:
            trusted = (key.public, *services.trusted_keys)
            previous = check_signature(services.store, release, trusted).key.fingerprint
        manifest, sha256 = release.complete_manifest, str(release.manifest_sha256)
        changed = previous != key.public.fingerprint
        if changed:
            # Signing again keeps the provenance: the run made it, and the old signature covers it.
            made = (
                services.store.get_bytes(contract.release_key(release_id, PROVENANCE_FILE))
                if previous
                else describe_release(conn, services.store, release, manifest, sha256, source=None)
            )
            write_signature(services.store, manifest, sha256, made, key)
        note_signature(conn, services.store, release_id, actor, None)
    return Signed(release_id, key.public.fingerprint, previous, changed)


def _check_state(release: Release) -> None:
    if release.completed_at is None or release.state in (State.RETIRING, State.RETIRED):
        raise LedgerError(
            f"release {release.release_id} cannot be signed",
            found=f"state {release.state}",
            expected="a complete release that is retained",
            hint="`recsys releases` lists them",
        )
