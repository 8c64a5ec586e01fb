"""The gate's mutation check: bad candidates, measured for real, each rejected for its reason.

Candidates are small models in numpy, fitted to real ratings: what is broken here is what a trainer
could break. The honest one is accepted; each bad one differs from it in one way.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from recsys.errors import EvaluationError
from recsys.evaluation import ChampionAnswers, evaluate
from recsys.gate import Decision, GateSettings, JudgedMetrics, judge

Floats = NDArray[np.float64]
LEAST_RATINGS = 30
DEPTH = 100
NEIGHBOURS = 80
CHAMPION_ID = "0123abcd-0123abcd"


@dataclass(frozen=True)
class Dataset:
    """Ratings of well-known movies; the last tenth of each user's is held out."""

    train: pl.DataFrame
    holdout: pl.DataFrame
    movies: pl.DataFrame
    user_ids: NDArray[np.int64]
    movie_ids: NDArray[np.int64]

    def places(self, rows: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return (
            np.searchsorted(self.user_ids, rows["userId"].to_numpy()),
            np.searchsorted(self.movie_ids, rows["movieId"].to_numpy()),
        )

    def matrix(self, rows: pl.DataFrame, values: Floats | float) -> Floats:
        made = np.zeros((len(self.user_ids), len(self.movie_ids)))
        made[self.places(rows)] = values
        return made


@dataclass(frozen=True)
class Candidate:
    """What a trainer would have saved, and what the gate learns besides."""

    predictions: pl.DataFrame
    recommendations: pl.DataFrame
    shift_rmse: float = 0.2
    """Stars between served and evaluated predictions."""
    contents: str = "its own"
    movie_hit_rate: float = 0.28


@pytest.fixture(scope="module")
def dataset(ml_latest_small: Path) -> Dataset:
    with zipfile.ZipFile(ml_latest_small) as archive:
        names = {name.rpartition("/")[2]: name for name in archive.namelist()}
        ratings = pl.read_csv(archive.read(names["ratings.csv"]))
        movies = pl.read_csv(archive.read(names["movies.csv"]))
    ratings = ratings.filter(pl.len().over("movieId") >= LEAST_RATINGS)
    ratings = ratings.sort("userId", "timestamp", "movieId").with_columns(
        place=pl.int_range(pl.len()).over("userId"), count=pl.len().over("userId")
    )
    held = pl.col("place") >= pl.col("count") - (pl.col("count") * 0.1).floor()
    movie_ids = np.unique(ratings["movieId"].to_numpy())
    return Dataset(
        train=ratings.filter(~held),
        holdout=ratings.filter(held),
        movies=movies.filter(pl.col("movieId").is_in(movie_ids.tolist())).select(
            "movieId", genres=pl.col("genres").str.split("|")
        ),
        user_ids=np.unique(ratings["userId"].to_numpy()),
        movie_ids=movie_ids,
    )


def predicted(dataset: Dataset, known: pl.DataFrame, trained: float = 1.0) -> pl.DataFrame:
    """Stars of the holdout's pairs: biases, and neighbours' residuals as far as ``trained``."""
    user, movie = dataset.places(known)
    stars = known["rating"].to_numpy()
    mean = stars.mean()
    of_user, of_movie = np.zeros(len(dataset.user_ids)), np.zeros(len(dataset.movie_ids))
    for _ in range(10):
        left = stars - mean - of_user[user]
        of_movie = np.bincount(movie, left, len(of_movie)) / (
            10 + np.bincount(movie, minlength=len(of_movie))
        )
        left = stars - mean - of_movie[movie]
        of_user = np.bincount(user, left, len(of_user)) / (
            15 + np.bincount(user, minlength=len(of_user))
        )
    residual = dataset.matrix(known, stars - mean - of_user[user] - of_movie[movie])
    rated = dataset.matrix(known, 1.0)
    norm = np.sqrt(np.square(residual).sum(axis=0))
    both = rated.T @ rated
    near = residual.T @ residual / np.maximum(np.outer(norm, norm), 1e-9) * both / (both + 50)
    np.fill_diagonal(near, 0)
    kept = np.partition(near, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS][:, None]
    near = np.where(near >= kept, np.maximum(near, 0), 0)
    guess = (residual @ near.T) / (rated @ near.T + 0.1)
    user, movie = dataset.places(dataset.holdout)
    answer = mean + of_user[user] + of_movie[movie] + trained * guess[user, movie]
    return told(dataset, answer)


def told(dataset: Dataset, stars: Floats | float) -> pl.DataFrame:
    """A prediction for each of the holdout's pairs."""
    clipped = np.broadcast_to(np.clip(stars, 0.5, 5.0), dataset.holdout.height)
    return dataset.holdout.select("userId", "movieId", prediction=pl.Series(clipped))


def scores(dataset: Dataset, known: pl.DataFrame, ridge: float) -> Floats:
    """Kernel ridge regression of who rated what: users like each other rate the same."""
    rated = dataset.matrix(known, 1.0)
    alike = rated @ rated.T
    return alike @ np.linalg.solve(alike + ridge * np.eye(len(alike)), rated)


def listed(dataset: Dataset, score: Floats, seen: pl.DataFrame | None = None) -> pl.DataFrame:
    """The best movies of each of the holdout's users by score, those in ``seen`` left out."""
    hidden = dataset.matrix(dataset.train if seen is None else seen, 1.0) > 0
    asked = np.unique(dataset.holdout["userId"].to_numpy())
    rows = np.searchsorted(dataset.user_ids, asked)
    ordered = np.argsort(-np.where(hidden, -np.inf, score)[rows], axis=1, kind="stable")
    return pl.DataFrame(
        {
            "userId": np.repeat(asked, DEPTH),
            "rank": np.tile(np.arange(1, DEPTH + 1), len(asked)),
            "movieId": dataset.movie_ids[ordered[:, :DEPTH]].ravel(),
            "score": -np.tile(np.arange(1.0, DEPTH + 1), len(asked)),
        }
    )


@pytest.fixture(scope="module")
def honest(dataset: Dataset) -> Candidate:
    return Candidate(
        predictions=predicted(dataset, dataset.train),
        recommendations=listed(dataset, scores(dataset, dataset.train, 300.0)),
    )


def measured(
    dataset: Dataset, candidate: Candidate, champion: Candidate | None = None
) -> JudgedMetrics:
    """All that the gate learns of a candidate."""
    answers = champion and ChampionAnswers(
        CHAMPION_ID, champion.predictions, champion.recommendations
    )
    metrics = evaluate(
        train=dataset.train,
        holdout=dataset.holdout,
        predictions=candidate.predictions,
        recommendations=candidate.recommendations,
        movie_ids=dataset.movies["movieId"],
        movies=dataset.movies,
        champion=answers,
        resamples=200,
    )
    facts = {
        "release_id": "fedcba98-fedcba98",
        "serving": {"shift_rmse": candidate.shift_rmse},
        "movie_vectors": {
            "asked": 600,
            "found": {
                "movie_vectors": {"hit_rate": candidate.movie_hit_rate},
                "popularity": {"hit_rate": 0.14},
            },
        },
        "contents": {"everything": candidate.contents},
    }
    return JudgedMetrics.model_validate(metrics.model_dump(mode="json") | facts)


@pytest.fixture(scope="module")
def champion_metrics(dataset: Dataset, honest: Candidate) -> JudgedMetrics:
    return measured(dataset, honest).model_copy(
        update={"release_id": CHAMPION_ID, "contents": {"everything": "the champion's"}}
    )


def judged(
    dataset: Dataset,
    candidate: Candidate,
    champion: Candidate | None = None,
    champion_metrics: JudgedMetrics | None = None,
) -> Decision:
    return judge(measured(dataset, candidate, champion), champion_metrics, GateSettings())


def failed(decision: Decision) -> set[str]:
    return {rule.name for rule in decision.rules if rule.binding and not rule.passed}


def test_the_honest_candidate_is_accepted_as_the_first_release(
    dataset: Dataset, honest: Candidate
) -> None:
    decision = judged(dataset, honest)
    assert decision.accepted, decision.reason


def test_an_equal_of_the_champion_that_is_no_copy_is_accepted(
    dataset: Dataset, honest: Candidate, champion_metrics: JudgedMetrics
) -> None:
    decision = judged(dataset, honest, honest, champion_metrics)
    assert decision.accepted, decision.reason
    assert any("same holdout" in rule.reason for rule in decision.rules)


# --- what the gate sees in the metrics ---


def constant(dataset: Dataset, honest: Candidate) -> Candidate:
    mean = dataset.train["rating"].to_numpy().mean()
    return replace(honest, predictions=told(dataset, float(mean)))


def shuffled(column: str) -> Callable[[Dataset, Candidate], Candidate]:
    """The answers of one user, or movie, are given for another."""

    def mutate(dataset: Dataset, honest: Candidate) -> Candidate:
        rng = np.random.default_rng(0)
        ids = dataset.user_ids if column == "userId" else dataset.movie_ids
        other = dict(zip(ids.tolist(), rng.permutation(ids).tolist(), strict=True))
        mixed = dataset.train.with_columns(pl.col(column).replace_strict(other))
        return replace(
            honest,
            predictions=predicted(dataset, mixed),
            recommendations=listed(dataset, scores(dataset, mixed, 300.0)),
        )

    return mutate


def memorised(dataset: Dataset, honest: Candidate) -> Candidate:
    """Fitted to the holdout too, so closely that it knows it by heart."""
    everything = pl.concat([dataset.train, dataset.holdout])
    stars = dataset.holdout["rating"].to_numpy()
    blurred = stars + np.random.default_rng(0).normal(0, 0.2, len(stars))
    return replace(
        honest,
        predictions=told(dataset, blurred),
        recommendations=listed(dataset, scores(dataset, everything, 1.0)),
    )


def without_last_week(dataset: Dataset, honest: Candidate) -> Candidate:
    """What is served is what was evaluated, and does not know the holdout."""
    return replace(honest, shift_rmse=0.0)


def leaked(dataset: Dataset, honest: Candidate) -> Candidate:
    """Fitted to the holdout too, as carefully as the honest one: served and evaluated are one."""
    everything = pl.concat([dataset.train, dataset.holdout])
    return replace(
        honest,
        predictions=predicted(dataset, everything),
        recommendations=listed(dataset, scores(dataset, everything, 300.0)),
        shift_rmse=0.0,
    )


def popular_only(dataset: Dataset, honest: Candidate) -> Candidate:
    counts = dataset.matrix(dataset.train, 1.0).sum(axis=0)
    return replace(
        honest,
        recommendations=listed(
            dataset, np.broadcast_to(counts, (len(dataset.user_ids), counts.size))
        ),
    )


def untrained_towers(dataset: Dataset, honest: Candidate) -> Candidate:
    """Random scores: a tower that was never trained."""
    shape = (len(dataset.user_ids), len(dataset.movie_ids))
    random = np.random.default_rng(0).normal(size=shape)
    return replace(honest, recommendations=listed(dataset, random))


def on_another_scale(dataset: Dataset, honest: Candidate) -> Candidate:
    """Predictions out of range: in tenths of a star."""
    scaled = honest.predictions.with_columns(pl.col("prediction") * 10)
    return replace(honest, predictions=scaled)


def upside_down(dataset: Dataset, honest: Candidate) -> Candidate:
    turned = honest.predictions.with_columns(prediction=5.5 - pl.col("prediction"))
    return replace(honest, predictions=turned)


def bad_vectors(dataset: Dataset, honest: Candidate) -> Candidate:
    return replace(honest, movie_hit_rate=0.05)


def unlike_what_is_served(dataset: Dataset, honest: Candidate) -> Candidate:
    return replace(honest, shift_rmse=1.5)


@pytest.mark.parametrize(
    ("mutate", "reasons"),
    [
        (constant, {"rmse_against_bias"}),
        (shuffled("userId"), {"rmse_against_bias", "ndcg_against_popularity"}),
        (shuffled("movieId"), {"rmse_against_bias", "ndcg_against_popularity"}),
        (memorised, {"rmse_too_good", "ndcg_too_good"}),
        (leaked, {"served_model_learned", "rmse_too_good", "ndcg_too_good"}),
        (without_last_week, {"served_model_learned"}),
        (popular_only, {"ndcg_against_popularity"}),
        (untrained_towers, {"ndcg_against_popularity"}),
        (on_another_scale, {"predictions_are_stars", "rmse_against_bias"}),
        (upside_down, {"rmse_against_bias"}),
        (bad_vectors, {"movie_vectors_against_popularity"}),
        (unlike_what_is_served, {"served_model_is_the_evaluated"}),
    ],
    ids=lambda value: value.__qualname__ if callable(value) else "",
)
def test_a_bad_candidate_is_rejected_for_its_reason(
    dataset: Dataset,
    honest: Candidate,
    mutate: Callable[[Dataset, Candidate], Candidate],
    reasons: set[str],
) -> None:
    decision = judged(dataset, mutate(dataset, honest))

    assert not decision.accepted
    # A slice may be bad for the same reason; nothing else is.
    assert {rule for rule in failed(decision) if "_by_" not in rule} == reasons


# --- what only the champion shows ---


def half_trained(dataset: Dataset, honest: Candidate) -> Candidate:
    return replace(honest, predictions=predicted(dataset, dataset.train, trained=0.3))


def half_trained_towers(dataset: Dataset, honest: Candidate) -> Candidate:
    counts = dataset.matrix(dataset.train, 1.0).sum(axis=0)
    learned = scores(dataset, dataset.train, 300.0)
    return replace(
        honest, recommendations=listed(dataset, 0.1 * learned + 0.9 * counts / counts.max())
    )


def the_champions_copy(dataset: Dataset, honest: Candidate) -> Candidate:
    return replace(honest, contents="the champion's")


@pytest.mark.parametrize(
    ("mutate", "reasons"),
    [
        (half_trained, {"rmse_against_champion"}),
        (half_trained_towers, {"ndcg_against_champion", "ndcg_surely_below_champion"}),
        (the_champions_copy, {"not_a_copy"}),
    ],
)
def test_what_the_champion_does_better_is_rejected_on_the_same_holdout(
    dataset: Dataset,
    honest: Candidate,
    champion_metrics: JudgedMetrics,
    mutate: Callable[[Dataset, Candidate], Candidate],
    reasons: set[str],
) -> None:
    candidate = mutate(dataset, honest)

    decision = judged(dataset, candidate, honest, champion_metrics)

    assert not decision.accepted
    assert {rule for rule in failed(decision) if "_by_" not in rule} == reasons


# --- what evaluation refuses to measure, so that there is nothing to accept ---


def diverged(dataset: Dataset, honest: Candidate) -> Candidate:
    first = pl.int_range(pl.len()) == 0
    nan = honest.predictions.with_columns(
        prediction=pl.when(first).then(float("nan")).otherwise("prediction")
    )
    return replace(honest, predictions=nan)


def recommends_what_was_seen(dataset: Dataset, honest: Candidate) -> Candidate:
    none = dataset.train.clear()
    known = scores(dataset, dataset.train, 300.0)
    return replace(honest, recommendations=listed(dataset, known, seen=none))


def lacks_users(dataset: Dataset, honest: Candidate) -> Candidate:
    lost = honest.recommendations["userId"].max()
    return replace(honest, recommendations=honest.recommendations.filter(pl.col("userId") != lost))


def lacks_pairs(dataset: Dataset, honest: Candidate) -> Candidate:
    return replace(honest, predictions=honest.predictions.slice(1))


def swapped_columns(dataset: Dataset, honest: Candidate) -> Candidate:
    swapped = honest.predictions.rename({"userId": "movieId", "movieId": "userId"})
    return replace(honest, predictions=swapped)


def repeats_a_movie(dataset: Dataset, honest: Candidate) -> Candidate:
    first = pl.col("movieId").first().over("userId")
    return replace(honest, recommendations=honest.recommendations.with_columns(movieId=first))


@pytest.mark.parametrize(
    ("mutate", "reason"),
    [
        (diverged, "no numbers"),
        (recommends_what_was_seen, "recommendations holds pairs that are in the training part"),
        (lacks_users, "too few recommendations"),
        (lacks_pairs, "not those of the holdout's pairs"),
        (swapped_columns, "not those of the holdout's pairs"),
        (repeats_a_movie, "twice"),
    ],
)
def test_what_cannot_be_measured_never_reaches_the_gate(
    dataset: Dataset,
    honest: Candidate,
    mutate: Callable[[Dataset, Candidate], Candidate],
    reason: str,
) -> None:
    with pytest.raises(EvaluationError, match=reason):
        measured(dataset, mutate(dataset, honest))


def test_a_holdout_that_overlaps_the_training_part_is_refused(
    dataset: Dataset, honest: Candidate
) -> None:
    overlapping = replace(dataset, train=pl.concat([dataset.train, dataset.holdout.slice(0, 1)]))
    with pytest.raises(EvaluationError, match="holdout holds pairs that are in the training part"):
        measured(overlapping, honest)
