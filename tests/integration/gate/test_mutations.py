"""Mutation test of the gate: each bad candidate is rejected for the expected reason.

The candidates are small numpy models, fitted to real ratings and measured by the real evaluation.
The honest candidate is accepted. Each bad candidate has one defect that a trainer could have.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.errors import EvaluationError
from recsys.evaluation import ChampionAnswers, evaluate
from recsys.gate import Decision, GateSettings, JudgedMetrics, judge
from tests.gate_candidates import Candidate, Dataset, as_predictions, predict, recommend, scores

LEAST_RATINGS = 30
CHAMPION_ID = "0123abcd-0123abcd"


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
    in_holdout = pl.col("place") >= pl.col("count") - (pl.col("count") * 0.1).floor()
    movie_ids = np.unique(ratings["movieId"].to_numpy())
    return Dataset(
        train=ratings.filter(~in_holdout),
        holdout=ratings.filter(in_holdout),
        movies=movies.filter(pl.col("movieId").is_in(movie_ids.tolist())).select(
            "movieId", genres=pl.col("genres").str.split("|")
        ),
        user_ids=np.unique(ratings["userId"].to_numpy()),
        movie_ids=movie_ids,
    )


@pytest.fixture(scope="module")
def honest(dataset: Dataset) -> Candidate:
    return Candidate(
        predictions=predict(dataset, dataset.train),
        recommendations=recommend(dataset, scores(dataset, dataset.train, 300.0)),
    )


def measure(
    dataset: Dataset, candidate: Candidate, champion: Candidate | None = None
) -> JudgedMetrics:
    """Returns the gate's input for a candidate."""
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
    return measure(dataset, honest).model_copy(
        update={"release_id": CHAMPION_ID, "contents": {"everything": "the champion's"}}
    )


def evaluate_and_judge(
    dataset: Dataset,
    candidate: Candidate,
    champion: Candidate | None = None,
    champion_metrics: JudgedMetrics | None = None,
) -> Decision:
    return judge(measure(dataset, candidate, champion), champion_metrics, GateSettings())


def failed(decision: Decision) -> set[str]:
    return {rule.name for rule in decision.rules if rule.binding and not rule.passed}


def test_the_honest_candidate_is_accepted_as_the_first_release(
    dataset: Dataset, honest: Candidate
) -> None:
    decision = evaluate_and_judge(dataset, honest)
    assert decision.accepted, decision.reason


def test_a_candidate_as_good_as_the_champion_is_accepted(
    dataset: Dataset, honest: Candidate, champion_metrics: JudgedMetrics
) -> None:
    decision = evaluate_and_judge(dataset, honest, honest, champion_metrics)
    assert decision.accepted, decision.reason
    assert any("same holdout" in rule.reason for rule in decision.rules)


# --- defects that the metrics show ---


def constant(dataset: Dataset, honest: Candidate) -> Candidate:
    mean = dataset.train["rating"].to_numpy().mean()
    return replace(honest, predictions=as_predictions(dataset, float(mean)))


def shuffled(column: str) -> Callable[[Dataset, Candidate], Candidate]:
    """Predictions and recommendations are those of another user or movie."""

    def mutate(dataset: Dataset, honest: Candidate) -> Candidate:
        rng = np.random.default_rng(0)
        ids = dataset.user_ids if column == "userId" else dataset.movie_ids
        other = dict(zip(ids.tolist(), rng.permutation(ids).tolist(), strict=True))
        mixed = dataset.train.with_columns(pl.col(column).replace_strict(other))
        return replace(
            honest,
            predictions=predict(dataset, mixed),
            recommendations=recommend(dataset, scores(dataset, mixed, 300.0)),
        )

    return mutate


def memorized(dataset: Dataset, honest: Candidate) -> Candidate:
    """Overfitted to the holdout."""
    everything = pl.concat([dataset.train, dataset.holdout])
    stars = dataset.holdout["rating"].to_numpy()
    blurred = stars + np.random.default_rng(0).normal(0, 0.2, len(stars))
    return replace(
        honest,
        predictions=as_predictions(dataset, blurred),
        recommendations=recommend(dataset, scores(dataset, everything, 1.0)),
    )


def without_last_week(dataset: Dataset, honest: Candidate) -> Candidate:
    """The served model is the evaluated one and was not fitted to the holdout."""
    return replace(honest, shift_rmse=0.0)


def leaked(dataset: Dataset, honest: Candidate) -> Candidate:
    """The evaluated model is the served one and was fitted to the holdout."""
    everything = pl.concat([dataset.train, dataset.holdout])
    return replace(
        honest,
        predictions=predict(dataset, everything),
        recommendations=recommend(dataset, scores(dataset, everything, 300.0)),
        shift_rmse=0.0,
    )


def popular_only(dataset: Dataset, honest: Candidate) -> Candidate:
    counts = dataset.matrix(dataset.train, 1.0).sum(axis=0)
    return replace(
        honest,
        recommendations=recommend(
            dataset, np.broadcast_to(counts, (len(dataset.user_ids), counts.size))
        ),
    )


def untrained_towers(dataset: Dataset, honest: Candidate) -> Candidate:
    """Random scores, as of towers that were not trained."""
    shape = (len(dataset.user_ids), len(dataset.movie_ids))
    random = np.random.default_rng(0).normal(size=shape)
    return replace(honest, recommendations=recommend(dataset, random))


def on_another_scale(dataset: Dataset, honest: Candidate) -> Candidate:
    """Predictions in tenths of a star."""
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
        (memorized, {"rmse_too_good", "ndcg_too_good"}),
        (leaked, {"served_model_learned", "rmse_too_good", "ndcg_too_good"}),
        (without_last_week, {"served_model_learned"}),
        (popular_only, {"ndcg_against_popularity", "coverage_floor"}),
        (untrained_towers, {"ndcg_against_popularity"}),
        (on_another_scale, {"predictions_are_stars", "rmse_against_bias"}),
        (upside_down, {"rmse_against_bias"}),
        (bad_vectors, {"movie_vectors_against_popularity"}),
        (unlike_what_is_served, {"served_model_is_the_evaluated"}),
    ],
    ids=lambda value: value.__qualname__ if callable(value) else "",
)
def test_a_bad_candidate_is_rejected_for_the_expected_reasons(
    dataset: Dataset,
    honest: Candidate,
    mutate: Callable[[Dataset, Candidate], Candidate],
    reasons: set[str],
) -> None:
    decision = evaluate_and_judge(dataset, mutate(dataset, honest))

    assert not decision.accepted
    # Rules for slices may fail for the same defect; no other rule may.
    assert {rule for rule in failed(decision) if "_by_" not in rule} == reasons


# --- defects that only the comparison with the champion shows ---


def half_trained(dataset: Dataset, honest: Candidate) -> Candidate:
    return replace(honest, predictions=predict(dataset, dataset.train, trained=0.3))


def half_trained_towers(dataset: Dataset, honest: Candidate) -> Candidate:
    counts = dataset.matrix(dataset.train, 1.0).sum(axis=0)
    learned = scores(dataset, dataset.train, 300.0)
    return replace(
        honest, recommendations=recommend(dataset, 0.1 * learned + 0.9 * counts / counts.max())
    )


def the_champions_copy(dataset: Dataset, honest: Candidate) -> Candidate:
    return replace(honest, contents="the champion's")


@pytest.mark.parametrize(
    ("mutate", "reasons"),
    [
        (half_trained, {"rmse_against_champion"}),
        # They are popularity almost alone, so they recommend hardly more movies.
        (
            half_trained_towers,
            {"coverage_floor", "ndcg_against_champion", "ndcg_surely_below_champion"},
        ),
        (the_champions_copy, {"not_a_copy"}),
    ],
)
def test_a_candidate_worse_than_the_champion_on_the_same_holdout_is_rejected(
    dataset: Dataset,
    honest: Candidate,
    champion_metrics: JudgedMetrics,
    mutate: Callable[[Dataset, Candidate], Candidate],
    reasons: set[str],
) -> None:
    candidate = mutate(dataset, honest)

    decision = evaluate_and_judge(dataset, candidate, honest, champion_metrics)

    assert not decision.accepted
    assert {rule for rule in failed(decision) if "_by_" not in rule} == reasons


# --- defects for which evaluation raises an error, so that the gate has no input ---


def diverged(dataset: Dataset, honest: Candidate) -> Candidate:
    first = pl.int_range(pl.len()) == 0
    nan = honest.predictions.with_columns(
        prediction=pl.when(first).then(float("nan")).otherwise("prediction")
    )
    return replace(honest, predictions=nan)


def recommends_what_was_seen(dataset: Dataset, honest: Candidate) -> Candidate:
    none = dataset.train.clear()
    known = scores(dataset, dataset.train, 300.0)
    return replace(honest, recommendations=recommend(dataset, known, seen=none))


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
        (diverged, "not finite numbers"),
        (recommends_what_was_seen, "recommendations contains pairs of the training part"),
        (lacks_users, "too few recommendations"),
        (lacks_pairs, "do not match the holdout's pairs"),
        (swapped_columns, "do not match the holdout's pairs"),
        (repeats_a_movie, "twice"),
    ],
)
def test_invalid_output_of_a_trainer_is_not_measured(
    dataset: Dataset,
    honest: Candidate,
    mutate: Callable[[Dataset, Candidate], Candidate],
    reason: str,
) -> None:
    with pytest.raises(EvaluationError, match=reason):
        measure(dataset, mutate(dataset, honest))


def test_a_holdout_that_overlaps_the_training_part_is_rejected(
    dataset: Dataset, honest: Candidate
) -> None:
    overlapping = replace(dataset, train=pl.concat([dataset.train, dataset.holdout.slice(0, 1)]))
    with pytest.raises(EvaluationError, match="holdout contains pairs of the training part"):
        measure(overlapping, honest)
