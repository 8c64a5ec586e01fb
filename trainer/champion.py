"""The champion's predictions and recommendations for a candidate's holdout, for comparison."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import keras
import numpy as np
import polars as pl
from pydantic import ValidationError

from recsys import contract
from recsys.contract import Manifest
from recsys.errors import ArtifactError, RecsysError, TransientError, first_invalid_field
from recsys.evaluation import ChampionAnswers
from trainer.ranking.towers import Towers, recommend
from trainer.rating.folded import predict

log = logging.getLogger(__name__)

_PAIR: Final = ["userId", "movieId"]


class _Reader(Protocol):
    def get_bytes(self, key: str) -> bytes: ...

    def download(self, key: str, path: Path, sha256: str | None = None) -> None: ...


@dataclass(frozen=True)
class Champion:
    """The evaluated model and towers of the champion: those that its metrics were computed from.

    Attributes:
        release_id: the champion's release id.
        model: predicts stars.
        towers: rank movies for users.
        trained_on: userId, movieId: its training part, of users that have a tower.
    """

    release_id: str
    model: keras.Model
    towers: Towers
    trained_on: pl.DataFrame

    def answers(
        self, train: pl.DataFrame, holdout: pl.DataFrame, movies: pl.DataFrame
    ) -> ChampionAnswers | None:
        """Predicts the holdout's pairs that it was not trained on; returns None if there are none.

        Args:
            train: userId, movieId: the candidate's training part; never recommended.
            holdout: userId, movieId.
            movies: movieId: all movies that may be recommended.
        """
        pairs = holdout.join(self.trained_on, on=_PAIR, how="anti").sort(_PAIR)
        if pairs.is_empty():
            return None
        known = np.isin(self.towers.movie_ids, movies["movieId"].to_numpy())
        towers = Towers(
            self.towers.user_ids,
            self.towers.movie_ids[known],
            self.towers.users,
            self.towers.movies[known],
        )
        users = pairs["userId"].unique().sort().to_numpy()
        users = users[np.isin(users, towers.user_ids)]
        rated = pl.concat([train.select(_PAIR), self.trained_on]).unique()
        rated = rated.filter(pl.col("movieId").is_in(towers.movie_ids.tolist()))
        return ChampionAnswers(
            release_id=self.release_id,
            predictions=pairs.select(
                *_PAIR,
                prediction=predict(
                    self.model, pairs["userId"].to_numpy(), pairs["movieId"].to_numpy()
                ),
            ),
            recommendations=recommend(towers, users, rated),
        )


def fetch_champion(store: _Reader, release_id: str, folder: Path) -> Champion | None:
    """Loads the champion from the store; returns None and logs a warning if that is impossible.

    A champion that is retired, damaged or has no evaluated artifacts must not fail the candidate,
    which is then evaluated without the comparison.

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
        return load_champion(folder, release_id)
    except TransientError:
        raise
    except ValidationError as error:
        reason = f"{key} is not a valid manifest: {first_invalid_field(error)}"
    except RecsysError as error:
        reason = str(error)
    log.warning("no comparison with the champion %s: %s", release_id, reason)
    return None


def load_champion(folder: Path, release_id: str) -> Champion:
    """Loads the evaluated model and towers of a release from a folder.

    Raises:
        ArtifactError: a file is missing or does not load.
    """
    try:
        path = folder / contract.EVALUATED_MODEL_FILE
        with path.open("rb") as file:
            contract.check_model_file(file, contract.EVALUATED_MODEL_FILE)
        model = keras.saving.load_model(path, safe_mode=True)
        users = pl.read_parquet(folder / contract.EVALUATED_USER_TOWERS_FILE)
        movies = pl.read_parquet(folder / contract.EVALUATED_MOVIE_TOWERS_FILE)
        towers = Towers(*_columns(users, movies))
        trained_on = (
            users.select(userId="id", movieId="seen").explode("movieId").drop_nulls("movieId")
        )
    # Errors of Keras, polars and numpy about damaged files have no common base class.
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        raise ArtifactError(
            "the champion's evaluated model or towers do not load",
            found=f"{type(error).__name__}: {error}",
            expected=", ".join(contract.EVALUATED_FILES),
        ) from error
    return Champion(release_id, model, towers, trained_on)


def _columns(users: pl.DataFrame, movies: pl.DataFrame) -> tuple[Any, Any, Any, Any]:
    users, movies = users.sort("id"), movies.sort("id")
    return (
        users["id"].to_numpy(),
        movies["id"].to_numpy(),
        users["vector"].to_numpy(),
        movies["vector"].to_numpy(),
    )
