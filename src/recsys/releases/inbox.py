"""The inbox of a run: what its trainer writes, until the pipeline has checked and copied it.

The trainer's account may write to the inbox only. So a trainer cannot change what is released: the
bytes that are checked are those of the copies, which it cannot reach.
"""

from __future__ import annotations

import logging

from recsys import contract, ledger
from recsys.contract import Manifest
from recsys.database import Connection
from recsys.errors import ArtifactError
from recsys.ledger import Release, State
from recsys.object_store import ObjectStore
from recsys.releases.bounds import (
    MAX_BYTES,
    check_documents,
    parse_candidate,
    read_bounded,
)
from recsys.releases.lock import admission_lock, check_lock
from recsys.releases.signature import check_signature
from recsys.releases.verification import (
    check_artifacts,
    check_model_files,
    check_run_manifest,
    parse_manifest,
    read_manifest,
)
from recsys.services import Services

log = logging.getLogger(__name__)


def is_trained(store: ObjectStore, release: Release) -> bool:
    """Whether the trainer of the run that the ledger names has made a candidate."""
    try:
        document = _find_manifest(store, release)
        if document is not None:
            manifest = parse_manifest(document, _manifest_key(release))
        else:
            # Copied already, or made by a trainer from before there was an inbox.
            manifest, _ = read_manifest(store, release.release_id)
        check_run_manifest(manifest, release)
    except ArtifactError:
        # A complete release is not trained again: its verification reports an invalid manifest.
        return release.completed_at is not None
    return True


def admit_candidate(services: Services, release_id: str) -> Release:
    """Checks a candidate, copies it from its inbox to the release, and deletes the inbox.

    Each file is copied first and checked afterwards, and the manifest is written last. So what is
    checked is what is released, and a process that is killed is followed by one that finds either
    a whole inbox or a whole release. A complete release is never overwritten.

    A candidate whose files are refused loses its manifest, so that the next run trains again.

    Returns:
        The release, with the nonce of the run whose trainer has made it.

    Raises:
        ArtifactError: the manifest or a file is missing or invalid, or another run's; or a release
            that is complete already is not what was signed, if public keys are configured.
        LedgerError: the release was abandoned or retired.
        LockedError: another try of the same task is copying the candidate.
    """
    with admission_lock(services, release_id) as conn:
        # Read under the lock: an earlier try may have finished, and the release may be complete.
        release = ledger.continue_build(conn, release_id)
        store, key = services.store, contract.release_key(release_id, contract.MANIFEST_FILE)
        document = None if release.completed_at else _find_manifest(store, release)
        is_new = document is not None and document != store.find_bytes(key)
        if document is not None and is_new:
            manifest = parse_candidate(document, _manifest_key(release))
        else:
            manifest, _ = read_manifest(store, release_id)
        check_run_manifest(manifest, release)
        try:
            if is_new:
                contract.check_candidate_artifacts(manifest)
                _copy(conn, store, release, manifest)
            check_artifacts(store, manifest)
            if release.completed_at and services.trusted_keys:
                check_signature(store, release, services.trusted_keys)
            check_model_files(store, manifest)
            check_documents(store, manifest)
        except ArtifactError as error:
            log.warning("refused the candidate of release %s: %s", release_id, error)
            if not release.completed_at:
                check_lock(conn)
                store.delete([_manifest_key(release) if is_new else key])
            raise
        if document is not None and is_new:
            check_lock(conn)
            store.put_bytes(key, document)
            log.info("copied the candidate of release %s from its inbox", release_id)
        check_lock(conn)
        # What a verifier of an earlier try has measured of this candidate stays, and what it has
        # predicted for the forward test, which runs beside the training.
        kept = (contract.FORWARD_FOLDER, *(() if is_new else (contract.MEASURED_FILE,)))
        clear_inbox(store, release, keep=kept)
    return release


def clear_inbox(store: ObjectStore, release: Release, keep: tuple[str, ...] = ()) -> None:
    """Deletes what trainers of a release have written, the expected manifest first.

    Args:
        store: the object store.
        release: the release.
        keep: files and folders, in the inbox of the release's run, that are not deleted.
    """
    store.delete([_manifest_key(release)])
    inbox = contract.inbox_prefix(release.release_id, release.run_nonce)
    kept = tuple(inbox + name for name in keep)
    left = store.keys(contract.release_inbox_prefix(release.release_id))
    store.delete([key for key in left if not key.startswith(kept)])


def inbox_leftovers(conn: Connection, store: ObjectStore) -> dict[str, list[str]]:
    """Returns keys that trainers left, by the id of their release, which is not being built.

    Such are those of a trainer that went on after its run had been given up. Keys that are of no
    release in the ledger are not returned: somebody else may have written them.
    """
    found: dict[str, list[str]] = {}
    for key in store.keys(contract.INBOX_PREFIX):
        found.setdefault(key.split("/")[1], []).append(key)
    # Read after the keys: a training that begins in between writes other keys, of another run.
    building = {release.release_id for release in ledger.releases_in(conn, State.BUILDING)}
    known = ledger.release_ids(conn) - building if found else frozenset()
    return {release_id: keys for release_id, keys in found.items() if release_id in known}


def _copy(conn: Connection, store: ObjectStore, release: Release, manifest: Manifest) -> None:
    """Copies artifacts and log of a candidate to its release.

    The lock is checked before each copy: a process that has lost it would perhaps overwrite what
    another one has checked since.
    """
    inbox = contract.inbox_prefix(release.release_id, release.run_nonce)
    for artifact in manifest.artifacts:
        source = store.head(inbox + artifact.name)
        if source is None or source.size != artifact.size:
            raise ArtifactError(
                f"{inbox}{artifact.name} is not the file that the manifest names",
                found="no such object" if source is None else f"{source.size} bytes",
                expected=f"{artifact.size} bytes",
                hint="clear train_dl_model to train again",
            )
        check_lock(conn)
        store.copy(source.key, artifact.key, {})
    log_file = store.head(inbox + contract.TRAINER_LOG_FILE)
    if log_file is not None and log_file.size <= MAX_BYTES[contract.TRAINER_LOG_FILE]:
        check_lock(conn)
        target = contract.release_key(release.release_id, contract.TRAINER_LOG_FILE)
        store.copy(log_file.key, target, {})


def _manifest_key(release: Release) -> str:
    return contract.inbox_key(release.release_id, release.run_nonce, contract.MANIFEST_FILE)


def _find_manifest(store: ObjectStore, release: Release) -> bytes | None:
    """Returns the manifest in the inbox of the release's run; None if there is none.

    Raises:
        ArtifactError: it is too large.
    """
    return read_bounded(store, _manifest_key(release), contract.MANIFEST_FILE)
