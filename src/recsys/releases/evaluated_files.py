"""Downloads the evaluated model and towers of a release, which a candidate is compared with.

verifier/champion.py downloads the same files in the trainer's image, where this package does not
exist. `Manifest.evaluated_artifacts` lists them for both.
"""

from __future__ import annotations

from pathlib import Path

from recsys import contract, ledger
from recsys.errors import LedgerError
from recsys.releases.verification import read_manifest
from recsys.services import Services


def champion_id(services: Services) -> str | None:
    """Returns the champion's release id, or None if there is no champion."""
    with services.connect() as conn:
        champion = ledger.champion(conn)
    return None if champion is None else champion.release_id


def fetch_evaluated(services: Services, release_id: str, folder: Path) -> Path:
    """Downloads a release's evaluated model and towers to ``folder/<release_id>``; returns it.

    Raises:
        LedgerError: ``release_id`` does not have the form of a release id.
        ArtifactError: the manifest or one of the files is missing or damaged.
    """
    try:
        contract.check_release_id(release_id)
    except ValueError as error:
        raise LedgerError(
            "there is neither such a folder nor such a release", found=release_id, hint=str(error)
        ) from error
    manifest, _ = read_manifest(services.store, release_id)
    release_folder = folder / release_id
    for artifact in manifest.evaluated_artifacts():
        path = release_folder / artifact.name
        path.parent.mkdir(parents=True, exist_ok=True)
        services.store.download(artifact.key, path, artifact.sha256)
    return release_folder
