"""The stars that the verifier predicts for a forward test, where the pipeline has no Keras.

As for the measurement of a candidate, the pipeline gives a key to the verifier's process only, and
takes from the inbox only what was sealed with it.
"""

from __future__ import annotations

from recsys import contract
from recsys.errors import ArtifactError
from recsys.object_store import ObjectStore
from recsys.releases.bounds import read_bounded
from recsys.releases.measurement import awaited_key


def expect_stars(store: ObjectStore, candidate_id: str) -> str:
    """Returns the key that seals the stars, in hex digits; a retry gets the same one.

    Args:
        store: the object store.
        candidate_id: the release that the new dataset is for.
    """
    return awaited_key(store, contract.forward_seal_key(candidate_id))


def read_stars(store: ObjectStore, candidate_id: str, run_nonce: str, release_id: str) -> bytes:
    """Returns the parquet with the stars that the verifier predicted with a served release.

    Args:
        store: the object store.
        candidate_id: the release that the new dataset is for.
        run_nonce: of the run.
        release_id: the served release.

    Raises:
        ArtifactError: there is none, or it is too large or was not sealed for this run.
    """
    source = contract.inbox_key(candidate_id, run_nonce, contract.forward_file(release_id))
    sealed = read_bounded(store, source, contract.FORWARD_FOLDER)
    key = store.find_bytes(contract.forward_seal_key(candidate_id))
    if sealed is None or key is None:
        raise ArtifactError(
            "the verifier predicted no stars",
            expected=source,
            hint="read the log of predict_newer_ratings",
        )
    return contract.unseal(sealed, key.decode(), about=release_id)


def forget_stars(store: ObjectStore, candidate_id: str, run_nonce: str) -> None:
    """Deletes what the verifier has predicted in a run, and the key of its seal."""
    folder = contract.inbox_prefix(candidate_id, run_nonce) + contract.FORWARD_FOLDER
    store.delete([*store.keys(folder), contract.forward_seal_key(candidate_id)])
