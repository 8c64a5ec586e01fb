"""Compares candidate and champion on holdout pairs that neither was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from recsys.errors import EvaluationError
from recsys.evaluation.confidence import Statistic, mean_of_users, rmse_of_rows
from recsys.evaluation.ids import id_type
from recsys.evaluation.metrics import (
    Ranking,
    coverage,
    mean_quality,
    ndcg_by_user,
    quality_on,
    rating_error,
)
from recsys.evaluation.tables import (
    PAIR,
    Floats,
    Holdout,
    Mask,
    check_movies,
    check_recommendations,
    table,
)

_RANKED: Final = ("ndcg@10", "recall@10", "recall@20", "mrr", "liked_ndcg@10")


@dataclass(frozen=True)
class ChampionAnswers:
    """Predictions and recommendations of the champion's evaluated models for a candidate's holdout.

    Attributes:
        release_id: the champion's release id.
        predictions: userId, movieId, prediction (stars) for the holdout pairs that were not in the
            champion's own training part. Only these pairs are compared.
        recommendations: userId, rank, movieId, score, as for a candidate, for the users of these
            pairs that have a tower in the champion. Only these users are ranked. Movies rated in
            ``train`` must not be recommended. Pairs that the champion was trained on may be; they
            are removed from both lists.
    """

    release_id: str
    predictions: pl.DataFrame
    recommendations: pl.DataFrame


@dataclass(frozen=True)
class Side:
    """Results of the candidate or the champion on the holdout's pairs.

    Attributes:
        prediction: stars, NaN for pairs that are not compared, shape (n,).
        ranking: ranking of the compared users, without the excluded pairs.
    """

    prediction: Floats
    ranking: Ranking


@dataclass(frozen=True)
class Comparison:
    """Candidate and champion on the same pairs.

    Attributes:
        release_id: the champion's release id.
        holdout: all pairs.
        rated: mask of the pairs that the champion was not trained on, shape (n,).
        ranked: mask of those whose user has recommendations by the champion, shape (n,).
        champion: results of the champion.
        candidate: results of the candidate.
    """

    release_id: str
    holdout: Holdout
    rated: Mask
    ranked: Mask
    champion: Side
    candidate: Side

    def summary(self, mask: Mask) -> dict[str, Any]:
        """Returns the champion's metrics, and the ``candidate``'s on the same pairs of ``mask``.

        ``rows`` and ``users`` count the pairs of the rating errors, ``ranked_users`` the users of
        the rankings. A metric without data is null.
        """
        rated, ranked = self.rated & mask, self.ranked & mask
        return {
            "release_id": self.release_id,
            "rows": int(rated.sum()),
            "users": len(np.unique(self.holdout.user[rated])),
            "ranked_users": len(np.unique(self.holdout.user[ranked])),
            **self._metrics(self.champion, mask),
            "coverage": self._coverage(self.champion, ranked),
            "candidate": {
                **self._metrics(self.candidate, mask),
                "coverage": self._coverage(self.candidate, ranked),
            },
        }

    def on_slice(self, mask: Mask) -> dict[str, Any]:
        """Returns ``rows``, the champion's ``rmse`` and ``ndcg@10``, and the ``candidate``'s."""
        shown = ("rmse", "ndcg@10")
        champion, candidate = (
            self._metrics(side, mask) for side in (self.champion, self.candidate)
        )
        return {
            "rows": int((self.rated & mask).sum()),
            **{name: champion[name] for name in shown},
            "candidate": {name: candidate[name] for name in shown},
        }

    def statistics(self, mask: Mask) -> Mapping[str, tuple[Statistic, Statistic]]:
        """Returns (candidate, champion) for each metric on the pairs of ``mask``."""
        holdout, n_users = self.holdout, len(self.holdout.users)
        rated, ranked = self.rated & mask, self.ranked & mask

        def rmse(side: Side) -> Statistic:
            error = (side.prediction - holdout.stars)[rated]
            return rmse_of_rows(holdout.user[rated], error, n_users)

        def ndcg(side: Side) -> Statistic:
            return mean_of_users(ndcg_by_user(holdout, side.ranking, ranked))

        sides = (self.candidate, self.champion)
        return {
            "rmse": (rmse(sides[0]), rmse(sides[1])),
            "ndcg@10": (ndcg(sides[0]), ndcg(sides[1])),
        }

    def _metrics(self, side: Side, mask: Mask) -> dict[str, float | None]:
        measured: dict[str, float | None] = dict.fromkeys(("rmse", "mae", *_RANKED))
        rated, ranked = self.rated & mask, self.ranked & mask
        if rated.any():
            measured |= rating_error(self.holdout.stars[rated], side.prediction[rated])
        if ranked.any():
            measured |= mean_quality(quality_on(self.holdout, side.ranking, ranked))
        return measured

    def _coverage(self, side: Side, ranked: Mask) -> float | None:
        if not ranked.any():
            return None
        users = np.bincount(self.holdout.user[ranked], minlength=len(self.holdout.users)) > 0
        return coverage(side.ranking.of_users(users), len(self.holdout.movies))


def compare_with_champion(
    champion: ChampionAnswers,
    holdout: Holdout,
    train: pl.DataFrame,
    prediction: Floats,
    recommendations: pl.DataFrame,
) -> Comparison:
    """Compares a candidate with the champion.

    Args:
        champion: predictions and recommendations of the champion.
        holdout: the candidate's holdout.
        train: userId, movieId of the candidate's training part.
        prediction: the candidate's stars, shape (n,).
        recommendations: the candidate's checked recommendations.

    Raises:
        EvaluationError: the champion's tables contradict the holdout or contain values that are not
            finite.
    """
    name = f"the champion's ({champion.release_id})"
    ids = id_type(holdout.pairs)
    predictions = table(f"{name} predictions", champion.predictions, [*PAIR, "prediction"], ids)
    lists = table(f"{name} recommendations", champion.recommendations, [*PAIR, "rank"], ids)
    strange = predictions.join(holdout.pairs, on=PAIR, how="anti")
    if strange.height:
        raise EvaluationError(
            f"{name} predictions contain pairs outside the holdout",
            found=f"{strange.height} pairs, among them {strange.row(0)[:2]}",
        )
    check_movies(holdout.movies, **{f"{name} recommendations": lists})
    check_recommendations(f"{name} recommendations", lists, train, holdout.users)

    joined = holdout.pairs.join(predictions, on=PAIR, how="left", maintain_order="left")
    stars = joined["prediction"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    rated = ~np.isnan(stars)
    excluded = holdout.pairs.filter(pl.Series(~rated)).select(PAIR)
    listed = np.isin(holdout.users, lists["userId"].unique().to_numpy())
    ranked = rated & listed[holdout.user]
    users = holdout.users[np.unique(holdout.user[ranked])]

    def ranking(of: pl.DataFrame) -> Ranking:
        kept = of.filter(pl.col("userId").is_in(users.tolist()))
        if excluded.height:
            kept = kept.join(excluded, on=PAIR, how="anti").with_columns(
                pl.col("rank").rank("ordinal").over("userId")
            )
        return Ranking.of(kept, holdout)

    return Comparison(
        release_id=champion.release_id,
        holdout=holdout,
        rated=rated,
        ranked=ranked,
        champion=Side(stars, ranking(lists)),
        candidate=Side(np.where(rated, prediction, np.nan), ranking(recommendations)),
    )
