"""The champion, asked about a candidate's holdout: its evaluated model and towers, loaded anew."""

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
from recsys.errors import ArtifactError, RecsysError, TransientError
from recsys.evaluation import ChampionAnswers
from trainer.ranking.towers import Towers, recommend
from trainer.rating.folded import predict

log = logging.getLogger(__name__)

_FILES: Final = (
    contract.EVALUATED_MODEL_FILE,
    contract.EVALUATED_USER_TOWERS_FILE,
    contract.EVALUATED_MOVIE_TOWERS_FILE,
)
_PAIR: Final = ["userId", "movieId"]


class _Reader(Protocol):
    def get_bytes(self, key: str) -> bytes: ...

    def download(self, key: str, path: Path, sha256: str | None = None) -> None: ...


@dataclass(frozen=True)
class Champion:
    """What a release's metrics were measured of.

    Attributes:
        release_id: which release.
        model: predicts stars.
        towers: rank movies for users.
        trained_on: userId, movieId: its training part, for the users that it has a vector for.
    """

    release_id: str
    model: keras.Model
    towers: Towers
    trained_on: pl.DataFrame

    def answers(
        self, train: pl.DataFrame, holdout: pl.DataFrame, movies: pl.DataFrame
    ) -> ChampionAnswers | None:
        """What it says of the holdout's pairs that it was not trained on; None if there are none.

        Args:
            train: userId, movieId: what the candidate was fitted to; never recommended.
            holdout: userId, movieId.
            movies: movieId: all that may be recommended.
        """
        asked = holdout.join(self.trained_on, on=_PAIR, how="anti").sort(_PAIR)
        if asked.is_empty():
            return None
        known = np.isin(self.towers.movie_ids, movies["movieId"].to_numpy())
        towers = Towers(
            self.towers.user_ids,
            self.towers.movie_ids[known],
            self.towers.users,
            self.towers.movies[known],
        )
        users = asked["userId"].unique().sort().to_numpy()
        users = users[np.isin(users, towers.user_ids)]
        rated = pl.concat([train.select(_PAIR), self.trained_on]).unique()
        rated = rated.filter(pl.col("movieId").is_in(towers.movie_ids.tolist()))
        return ChampionAnswers(
            release_id=self.release_id,
            predictions=asked.select(
                *_PAIR,
                prediction=predict(
                    self.model, asked["userId"].to_numpy(), asked["movieId"].to_numpy()
                ),
            ),
            recommendations=recommend(towers, users, rated),
        )


def fetch_champion(store: _Reader, release_id: str, folder: Path) -> Champion | None:
    """Loads the champion from the store; None, and a line in the log, if that cannot be done.

    A release without evaluated artifacts, a retired one and a damaged one are no reason for a
    candidate to fail: it is then judged without the comparison.

    Raises:
        TransientError: the store does not answer.
    """
    try:
        key = contract.release_key(release_id, contract.MANIFEST_FILE)
        manifest = Manifest.from_json(store.get_bytes(key))
        for name in _FILES:
            artifact = manifest.artifact(name)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            store.download(artifact.key, folder / name, artifact.sha256)
        return load_champion(folder, release_id)
    except TransientError:
        raise
    except KeyError as error:
        reason = f"it has no {error.args[0]}: an older trainer made it"
    except (RecsysError, ValidationError) as error:
        reason = str(error)
    log.warning("the champion %s is not compared with: %s", release_id, reason)
    return None


def load_champion(folder: Path, release_id: str) -> Champion:
    """Loads the evaluated model and towers below a folder.

    Raises:
        ArtifactError: one is missing or does not load.
    """
    try:
        model = keras.saving.load_model(folder / contract.EVALUATED_MODEL_FILE, safe_mode=True)
        users = pl.read_parquet(folder / contract.EVALUATED_USER_TOWERS_FILE)
        movies = pl.read_parquet(folder / contract.EVALUATED_MOVIE_TOWERS_FILE)
        towers = Towers(*_columns(users, movies))
        trained_on = (
            users.select(userId="id", movieId="seen").explode("movieId").drop_nulls("movieId")
        )
    # Keras raises what the broken part happens to raise, polars and numpy theirs: no common base.
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        raise ArtifactError(
            "the champion's evaluated model or towers do not load",
            found=f"{type(error).__name__}: {error}",
            expected=", ".join(_FILES),
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
