"""What a later training needs of a release, to compare itself with it: brought to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from recsys import contract, ledger
from recsys.contract import Manifest
from recsys.errors import ArtifactError, LedgerError
from recsys.services import Services

_FILES: Final = (
    contract.EVALUATED_MODEL_FILE,
    contract.EVALUATED_USER_TOWERS_FILE,
    contract.EVALUATED_MOVIE_TOWERS_FILE,
)


def live_release(services: Services) -> str | None:
    """The champion's release id; None where nothing is live."""
    with services.connect() as conn:
        live = ledger.champion(conn)
    return None if live is None else live.release_id


def fetch_evaluated(services: Services, release_id: str, folder: Path) -> Path:
    """Downloads a release's evaluated model and towers to a folder of its name, and returns that.

    Raises:
        LedgerError: that is no release id.
        ArtifactError: the release or one of the files is not in the store, or is damaged.
    """
    try:
        key = contract.release_key(release_id, contract.MANIFEST_FILE)
    except ValueError as error:
        raise LedgerError(
            "there is neither such a folder nor such a release", found=release_id, hint=str(error)
        ) from error
    store = services.store
    into = folder / release_id
    try:
        manifest = Manifest.from_json(store.get_bytes(key))
        for name in _FILES:
            artifact = manifest.artifact(name)
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            store.download(artifact.key, into / name, artifact.sha256)
    except KeyError as error:
        raise ArtifactError(
            "the release cannot be compared with: an older trainer made it",
            found=f"no {error.args[0]} in {release_id}",
        ) from error
    except ValidationError as error:
        raise ArtifactError("the release's manifest cannot be read", found=str(error)) from error
    return into
