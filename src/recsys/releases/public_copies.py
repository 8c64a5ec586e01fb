"""The public copies of the champion in S3, which can be written again at any time.

A request that is delayed in the network must not overwrite them when its process is long dead. S3
has no lock, so a fence takes its place. Both public objects are written by copying a staged object
within the bucket. The next process that takes the promotion lock first deletes all staged objects:
a copy that an earlier process has sent, and that arrives afterwards, has no source and fails.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC
from uuid import uuid4

from recsys import contract
from recsys.contract import PUBLIC_MODEL_KEY, PUBLIC_POINTER_KEY, RELEASE_ID_TAG
from recsys.database import Connection
from recsys.errors import ArtifactError, LockedError, PermanentError
from recsys.ledger import Release
from recsys.object_store import ObjectStore, StoredContent
from recsys.releases.lock import check_lock
from recsys.releases.ownership import public_content
from recsys.releases.public_names import release_table

log = logging.getLogger(__name__)

_SHA256_TAG = "sha256"


def fence(store: ObjectStore) -> None:
    """Deletes the staged objects of earlier holders of the promotion lock.

    Call it with the lock, before anything public is compared or written.
    """
    store.delete(store.keys(contract.STAGING_PREFIX))


def publish_model(conn: Connection, store: ObjectStore, release: Release) -> None:
    """Copies the release's model to the public key, with the release id as metadata.

    Args:
        conn: the session that holds the promotion lock.
        store: the bucket.
        release: the release.

    Raises:
        ArtifactError: the copy does not match the release afterwards.
        LockedError: another process has taken the lock.
    """
    model = release.complete_manifest.artifact(contract.MODEL_FILE)
    tags = {RELEASE_ID_TAG: release.release_id, _SHA256_TAG: model.sha256}
    staged = _staging_key(contract.MODEL_FILE)
    store.copy(model.key, staged, tags)
    _place(conn, store, staged, PUBLIC_MODEL_KEY, tags)
    # The labels were written just now, so only the bytes show whether the source was changed.
    if not model_is_of(store, release):
        raise ArtifactError(
            f"{PUBLIC_MODEL_KEY} differs from the model that was to be copied",
            expected=f"the model of release {release.release_id}, sha256 {model.sha256}",
            hint="check whether something else writes to this key, then run `recsys recover`",
        )


def _staging_key(name: str) -> str:
    # Never used twice, so that a delayed request to stage cannot serve a later copy.
    return contract.staging_key(f"{uuid4().hex}/{name}")


def _place(
    conn: Connection, store: ObjectStore, staged: str, target: str, metadata: dict[str, str]
) -> None:
    """Copies a staged object to a public key, unless another process has taken the lock.

    If the lock is held after staging, the next holder's `fence` finds the staged object. So the
    copy happens before that, and the next holder repairs it, or it never happens.
    """
    check_lock(conn)
    try:
        store.copy(staged, target, metadata)
    # Not every server answers a missing source with "not found".
    except PermanentError as error:
        if store.head(staged) is not None:
            raise
        raise LockedError(
            "another process undid this promotion while it was running", hint="run it again"
        ) from error
    store.delete([staged])


def model_is_of(store: ObjectStore, release: Release, *, read: bool = True) -> bool:
    """Whether the public model is a release's, by its labels, its size and its content.

    Args:
        store: the bucket.
        release: the release.
        read: compare the content, too; a large model takes seconds.
    """
    model = release.complete_manifest.artifact(contract.MODEL_FILE)
    found = store.find_content(PUBLIC_MODEL_KEY) if read else store.head(PUBLIC_MODEL_KEY)
    return (
        found is not None
        and found.size == model.size
        and found.metadata.get(RELEASE_ID_TAG) == release.release_id
        and found.metadata.get(_SHA256_TAG) == model.sha256
        and (not isinstance(found, StoredContent) or found.sha256 == model.sha256)
    )


def publish_pointer(conn: Connection, store: ObjectStore, release: Release) -> None:
    """Writes ``latest.json``, which has the same content as ``recsys.current_release``.

    Raises:
        LockedError: another process has taken the lock.
    """
    staged = _staging_key(PUBLIC_POINTER_KEY)
    store.put_bytes(staged, _pointer(release))
    _place(conn, store, staged, PUBLIC_POINTER_KEY, {})


def public_copies_match(
    store: ObjectStore, champion: Release | None, *, read_model: bool = False
) -> bool:
    """Whether both public copies match the champion, or are absent if there is none.

    Args:
        store: the bucket.
        champion: the champion.
        read_model: compare the bytes of the model, too, not only its labels and its size.
    """
    if champion is None:
        return store.head(PUBLIC_MODEL_KEY) is None and store.head(PUBLIC_POINTER_KEY) is None
    # The short one first: if it differs, the model need not be read.
    return store.find_bytes(PUBLIC_POINTER_KEY) == _pointer(champion) and model_is_of(
        store, champion, read=read_model
    )


def public_copies_in_order(store: ObjectStore, champion: Release | None) -> bool:
    """`public_copies_match` for lists: False also if the champion's manifest is damaged."""
    try:
        return public_copies_match(store, champion)
    except ArtifactError as error:
        log.warning("the public copies cannot be compared: %s", error)
        return False


def restore(conn: Connection, store: ObjectStore, champion: Release) -> None:
    """Writes the public copies from the champion.

    Raises:
        ArtifactError: the champion's model is missing or was changed.
    """
    if not model_is_of(store, champion):
        publish_model(conn, store, champion)
    publish_pointer(conn, store, champion)


def withdraw(store: ObjectStore, published: frozenset[str]) -> bool:
    """Deletes the public copies of the ledger's own releases, where there is no champion.

    A public object of unknown origin stays: somebody may serve it.

    Args:
        store: the bucket.
        published: releases that a promotion of this ledger has published.

    Returns:
        Whether there was any.
    """
    content = public_content(store)
    keys = [
        key
        for key, release_id in (
            (PUBLIC_POINTER_KEY, content.pointer),
            (PUBLIC_MODEL_KEY, content.model),
        )
        if release_id in published
    ]
    store.delete(keys)
    return bool(keys)


def _pointer(release: Release) -> bytes:
    manifest = release.complete_manifest
    model = manifest.artifact(contract.MODEL_FILE)
    # In UTC, so that all sessions write the same bytes.
    promoted = release.promoted_at.astimezone(UTC).isoformat() if release.promoted_at else None
    pointer = {
        "release_id": release.release_id,
        "model_key": model.key,
        "model_sha256": model.sha256,
        "dims": manifest.dims.model_dump(),
        "tables": {
            table.name: release_table(table.name, release.release_id)
            for table in contract.PUBLIC_TABLES
        },
        "promoted_at": promoted,
    }
    return json.dumps(pointer, indent=2, sort_keys=True).encode()
