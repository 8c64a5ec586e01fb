"""The champion's evaluated model and towers, for comparison on a candidate's holdout."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError

from recsys import contract
from recsys.contract import STARS, Manifest, RatingScale
from recsys.errors import ArtifactError, RecsysError, TransientError, first_invalid_field
from recsys.evaluation import EvaluatedRelease, Towers
from verifier.models import load_model, predict

log = logging.getLogger(__name__)


class _Reader(Protocol):
    def get_bytes(self, key: str) -> bytes: ...

    def download(self, key: str, path: Path, sha256: str | None = None) -> None: ...


def fetch_champion(
    store: _Reader, release_id: str, folder: Path, scale: RatingScale = STARS
) -> EvaluatedRelease | None:
    """Loads the champion from the store; returns None and logs a warning if that is impossible.

    A champion that is retired, damaged or has no evaluated artifacts must not fail the candidate,
    which is then evaluated without the comparison.

    Args:
        store: where releases are read.
        release_id: the champion.
        folder: a folder for its files.
        scale: of the candidate's dataset, to which the predictions are mapped.

    Raises:
        TransientError: the store is unavailable.
    """
    key = contract.release_key(release_id, contract.MANIFEST_FILE)
    try:
        manifest = Manifest.from_json(store.get_bytes(key))
        for artifact in manifest.evaluated_artifacts():
            path = folder / artifact.name
            path.parent.mkdir(parents=True, exist_ok=True)
            store.download(artifact.key, path, artifact.sha256)
        return in_scale(load_champion(folder, release_id), manifest.build.features.scale, scale)
    except TransientError:
        raise
    except ValidationError as error:
        reason = f"{key} is not a valid manifest: {first_invalid_field(error)}"
    except RecsysError as error:
        reason = str(error)
    log.warning("no comparison with the champion %s: %s", release_id, reason)
    return None


def in_scale(release: EvaluatedRelease, own: RatingScale, wanted: RatingScale) -> EvaluatedRelease:
    """Returns a release that predicts in another scale than that of its dataset."""
    if own == wanted:
        return release

    def converted(users: NDArray[Any], movies: NDArray[Any], /) -> NDArray[np.float32]:
        stars = own.to_stars(release.predict(users, movies).astype(np.float64))
        ratings: NDArray[np.float32] = wanted.from_stars(stars).astype(np.float32)
        return ratings

    return replace(release, predict=converted)


def load_champion(folder: Path, release_id: str) -> EvaluatedRelease:
    """Loads the evaluated model and towers of a release from a folder.

    Raises:
        ArtifactError: a file is missing or does not load.
    """
    try:
        model = load_model(folder / contract.EVALUATED_MODEL_FILE, contract.EVALUATED_MODEL_FILE)
        users = pl.read_parquet(folder / contract.EVALUATED_USER_TOWERS_FILE)
        towers = read_towers(users, pl.read_parquet(folder / contract.EVALUATED_MOVIE_TOWERS_FILE))
        trained_on = (
            users.select(userId="id", movieId="seen").explode("movieId").drop_nulls("movieId")
        )
    # Errors of Keras, polars and numpy about damaged files have no common base class.
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        raise ArtifactError(
            "the evaluated model or towers of the release do not load",
            found=f"{type(error).__name__}: {error}",
            expected=", ".join(contract.EVALUATED_FILES),
        ) from error
    return EvaluatedRelease(release_id, partial(predict, model), towers, trained_on)


def read_towers(users: pl.DataFrame, movies: pl.DataFrame) -> Towers:
    """Returns the towers in two tables with the columns id and vector."""
    users, movies = users.sort("id"), movies.sort("id")
    return Towers(
        users["id"].to_numpy(),
        movies["id"].to_numpy(),
        users["vector"].to_numpy(),
        movies["vector"].to_numpy(),
    )
