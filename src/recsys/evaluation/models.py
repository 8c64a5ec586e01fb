"""Evaluation of evaluated models: a candidate's on its holdout, and an earlier release's on it.

The trainer and the verifier both call `evaluate_models`, so that their numbers can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.contract import STARS, Metrics, RatingScale
from recsys.evaluation.champion import ChampionAnswers
from recsys.evaluation.evaluator import evaluate
from recsys.evaluation.holdouts import TimeHoldout, ranked_users, time_holdout_rows
from recsys.evaluation.ids import id_type, with_id_type
from recsys.evaluation.sample import ranked_sample
from recsys.evaluation.tables import PAIR, join_in_ranges
from recsys.evaluation.towers import Towers, recommend

TRAIN: Final = "train"
HOLDOUT: Final = "holdout"
"""Values, besides ``later``, of the column split; see `recsys.contract.INTERACTIONS_FILE`."""


class Predict(Protocol):
    """Predicts stars for pairs of raw ids, known or unknown, shape (n,)."""

    def __call__(
        self, user_ids: NDArray[np.integer[Any]], movie_ids: NDArray[np.integer[Any]], /
    ) -> NDArray[np.float32]:
        """See the class."""


@dataclass(frozen=True)
class EvaluatedRelease:
    """The evaluated model and towers of an earlier release: those its metrics were computed from.

    Attributes:
        release_id: the release.
        predict: predicts stars.
        towers: rank movies for users.
        trained_on: userId, movieId: its training part, of users that have a tower.
    """

    release_id: str
    predict: Predict
    towers: Towers
    trained_on: pl.DataFrame

    def answers(
        self,
        train: pl.DataFrame,
        holdout: pl.DataFrame,
        movies: pl.DataFrame,
        ranked: NDArray[np.integer[Any]],
    ) -> ChampionAnswers | None:
        """Predicts the holdout's pairs that it was not trained on; returns None if there are none.

        Args:
            train: userId, movieId: the candidate's training part; never recommended.
            holdout: userId, movieId.
            movies: movieId: all movies that may be recommended.
            ranked: userIds: the users of the holdout that the candidate is ranked for.
        """
        # Of a release before or after its dataset got longer ids.
        ids = id_type(train, holdout, self.trained_on)
        train, holdout, trained_on = (
            with_id_type(rows.select(PAIR), ids) for rows in (train, holdout, self.trained_on)
        )
        pairs = join_in_ranges(holdout, trained_on, "anti").sort(PAIR)
        if pairs.is_empty():
            return None
        known = np.isin(self.towers.movie_ids, movies["movieId"].to_numpy())
        towers = Towers(
            self.towers.user_ids,
            self.towers.movie_ids[known],
            self.towers.users,
            self.towers.movies[known],
        )
        users = np.intersect1d(ranked, pairs["userId"].unique().to_numpy())
        users = users[np.isin(users, towers.user_ids)]
        asked = pl.DataFrame({"userId": users}).cast({"userId": ids})
        # Only the pairs of users who are asked for: the two parts together have twice the ratings.
        rated = pl.concat(rows.join(asked, on="userId", how="semi") for rows in (train, trained_on))
        rated = rated.filter(pl.col("movieId").is_in(towers.movie_ids.tolist()))
        return ChampionAnswers(
            release_id=self.release_id,
            predictions=pairs.select(
                *PAIR,
                prediction=self.predict(pairs["userId"].to_numpy(), pairs["movieId"].to_numpy()),
            ),
            recommendations=recommend(towers, asked["userId"].to_numpy(), rated),
        )


@dataclass(frozen=True)
class Evaluation:
    """What evaluated models answer on the holdout, and how good that is.

    Attributes:
        predictions: userId, movieId, rating, prediction (stars), one row for each holdout pair.
        recommendations: userId, rank, movieId, score, of the users who are ranked
            (`recsys.evaluation.sample`); see `recommend`.
        metrics: see `evaluate`.
    """

    predictions: pl.DataFrame
    recommendations: pl.DataFrame
    metrics: Metrics = field(repr=False)


def evaluate_models(
    interactions: pl.DataFrame,
    movies: pl.DataFrame,
    predict: Predict,
    towers: Towers,
    champion: EvaluatedRelease | None = None,
    scale: RatingScale = STARS,
) -> Evaluation:
    """Predicts and ranks both holdouts with models that were fitted to the training part.

    Args:
        interactions: userId, movieId, rating (stars), timestamp (s), split.
        movies: movieId, genres of all movies.
        predict: the rating model.
        towers: the ranking model; their movies are those of ``movies``.
        champion: evaluated on the same holdout, for comparison; it predicts in the same scale.
        scale: of ratings and predictions.

    Raises:
        EvaluationError: the predictions or recommendations cannot be evaluated.
    """
    train, holdout = part(interactions, TRAIN), part(interactions, HOLDOUT)
    predictions = holdout.select(
        *PAIR,
        "rating",
        prediction=predict(holdout["userId"].to_numpy(), holdout["movieId"].to_numpy()),
    )
    asked = ranked_sample(holdout["userId"].unique().to_numpy())
    recommendations = recommend(towers, asked, train)
    later = time_holdout_rows(interactions)
    in_time = None
    if not later.is_empty():
        asked_later = ranked_sample(ranked_users(later, train))
        in_time = TimeHoldout(
            rows=later,
            predictions=later.select(
                *PAIR, prediction=predict(later["userId"].to_numpy(), later["movieId"].to_numpy())
            ),
            recommendations=recommend(towers, asked_later, train),
            champion=champion.answers(train, later, movies, asked_later) if champion else None,
        )
    metrics = evaluate(
        train=train,
        holdout=holdout,
        predictions=predictions,
        recommendations=recommendations,
        movie_ids=movies["movieId"],
        movies=movies,
        champion=champion.answers(train, holdout, movies, asked) if champion else None,
        time_holdout=in_time,
        scale=scale,
    )
    return Evaluation(predictions, recommendations, metrics)


def part(interactions: pl.DataFrame, name: str) -> pl.DataFrame:
    """Returns the interactions with this value of the column split, without that column."""
    return interactions.filter(pl.col("split") == name).drop("split")
