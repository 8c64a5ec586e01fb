"""Slices, neighbours, the character of lists, and the champion beside the candidate."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.errors import EvaluationError
from recsys.evaluation import Holdout, Training, rank_by_neighbors
from recsys.evaluation.evaluator import ChampionAnswers
from recsys.evaluation.slices import MOVIE_POPULARITY, USER_ACTIVITY
from tests.metrics_maker import evaluate_to_document

Tables = dict[str, Any]
PAIR = ["userId", "movieId"]


def make_tables(seed: int = 1, users: int = 40, movies: int = 90) -> Tables:
    """A split dataset in which half of the movies are rare, with random answers."""
    rng = np.random.default_rng(seed)
    chance = np.where(np.arange(movies) % 2, 0.6, 0.1) * rng.uniform(0.2, 1, (users, 1))
    user, movie = np.nonzero(rng.random((users, movies)) < chance)
    frame = pl.DataFrame(
        {
            "userId": (user + 1).astype(np.int32),
            "movieId": (10 * movie + 10).astype(np.int32),
            "rating": (rng.integers(1, 11, len(user)) / 2).astype(np.float32),
            "timestamp": rng.permutation(len(user)) + 1_000_000,
        }
    )
    last = pl.int_range(pl.len()).reverse().over("userId") < 3
    frame = frame.sort("userId", "timestamp").with_columns(held=last)
    train, holdout = (frame.filter(pl.col("held") == held).drop("held") for held in (False, True))
    return {
        "train": train,
        "holdout": holdout,
        "predictions": answered(holdout, seed + 1),
        "recommendations": listed(train, holdout, movies, seed + 2),
        "movie_ids": range(10, 10 * movies + 1, 10),
        "movies": pl.DataFrame(
            {
                "movieId": range(10, 10 * movies + 1, 10),
                "genres": [["Drama"] if k % 3 else ["Drama", "War"] for k in range(movies)],
            }
        ),
    }


def answered(holdout: pl.DataFrame, seed: int) -> pl.DataFrame:
    noise = np.random.default_rng(seed).normal(0, 1, holdout.height)
    return holdout.select(*PAIR, prediction=(pl.col("rating") + pl.Series(noise)).clip(0.5, 5))


def listed(train: pl.DataFrame, holdout: pl.DataFrame, movies: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    lists = []
    for (user,) in holdout.select("userId").unique().sort("userId").iter_rows():
        seen = set(train.filter(userId=user)["movieId"])
        order = [m for m in rng.permutation(np.arange(10, 10 * movies + 1, 10)) if m not in seen]
        lists += [(user, k + 1, int(m), 1 / (k + 1)) for k, m in enumerate(order)]
    return pl.DataFrame(lists, schema=["userId", "rank", "movieId", "score"], orient="row")


def champion_of(given: Tables, seed: int = 50, movies: int = 90) -> ChampionAnswers:
    return ChampionAnswers(
        "00000000-11111111",
        answered(given["holdout"], seed),
        listed(given["train"], given["holdout"], movies, seed + 1),
    )


def test_each_kind_of_slice_parts_the_holdout_and_its_errors_add_up() -> None:
    given = make_tables()

    measured = evaluate_to_document(**given, resamples=0)

    slices = measured["slices"]
    assert set(slices["user_activity"]) <= set(USER_ACTIVITY)
    assert set(slices["movie_popularity"]) <= set(MOVIE_POPULARITY)
    assert set(slices["genre"]) == {"Drama", "War"}
    for kind in ("user_activity", "new_users", "movie_popularity"):
        parts = slices[kind].values()
        assert sum(part["rows"] for part in parts) == given["holdout"].height
        squares = sum(part["rows"] * part["rmse"] ** 2 for part in parts)
        total = given["holdout"].height * measured["model"]["rmse"] ** 2
        assert squares == pytest.approx(total)
    everything = slices["genre"]["Drama"]
    for metric in ("rmse", "mae", "ndcg@10", "recall@10"):
        assert everything[metric] == pytest.approx(measured["model"][metric])
    for name, metric in (("bias", "rmse"), ("popularity", "ndcg@10")):
        expected = measured["baselines"][name][metric]
        assert everything["baselines"][name] == {metric: pytest.approx(expected)}


def test_a_slice_is_measured_on_its_own_pairs_with_the_ranks_of_the_whole_list() -> None:
    given = make_tables()

    measured = evaluate_to_document(**given, resamples=0)["slices"]["genre"]["War"]

    war = given["movies"].filter(pl.col("genres").list.contains("War"))["movieId"].cast(pl.Int32)
    pairs = given["holdout"].filter(pl.col("movieId").is_in(war.implode()))
    joined = pairs.join(given["predictions"], on=PAIR)
    assert measured["rows"] == pairs.height
    assert measured["users"] == pairs["userId"].n_unique()
    assert measured["mae"] == pytest.approx((joined["prediction"] - joined["rating"]).abs().mean())
    ranks = pairs.join(given["recommendations"], on=PAIR)
    found = ranks.group_by("userId").agg((pl.col("rank") <= 10).sum() / pl.len())
    assert measured["recall@10"] == pytest.approx(found["rank"].mean())


def test_the_newest_users_are_those_whose_first_rating_is_the_latest() -> None:
    given = make_tables()

    measured = evaluate_to_document(**given, resamples=0)["slices"]["new_users"]

    first = given["train"].group_by("userId").agg(pl.col("timestamp").min()).sort("timestamp")
    newest = first["userId"].tail(4)
    rows = given["holdout"].filter(pl.col("userId").is_in(newest.implode())).height
    assert measured["newest tenth"]["users"] == 4
    assert measured["newest tenth"]["rows"] == rows


def test_without_genres_or_times_these_slices_are_left_out() -> None:
    given = make_tables() | {"movies": None}
    given["train"] = given["train"].drop("timestamp")

    slices = evaluate_to_document(**given, resamples=0)["slices"]

    assert slices["genre"] == slices["new_users"] == {}
    assert slices["user_activity"]


def test_calibration_counts_each_row_under_its_true_and_its_predicted_stars() -> None:
    given = make_tables()

    entries = evaluate_to_document(**given, resamples=0)["calibration"]

    joined = given["holdout"].join(given["predictions"], on=PAIR, maintain_order="left")
    assert [entry["stars"] for entry in entries] == [k / 2 for k in range(1, 11)]
    for entry in entries:
        rows = joined.filter(pl.col("rating") == entry["stars"])
        nearest = joined.filter((pl.col("prediction") - entry["stars"]).abs() <= 0.25)
        assert entry["rows"] == rows.height
        assert entry["mean_prediction"] == pytest.approx(rows["prediction"].mean())
        assert entry["predicted_rows"] == nearest.height
        assert entry["mean_rating"] == pytest.approx(nearest["rating"].mean())


def test_novelty_and_popularity_bias_are_their_definitions_restated() -> None:
    given = make_tables()

    measured = evaluate_to_document(**given, resamples=0)["model"]

    raters = dict(given["train"].group_by("movieId").len().iter_rows())
    users = given["train"]["userId"].n_unique()
    bits, share = [], []
    for _, own in given["recommendations"].filter(pl.col("rank") <= 10).group_by("userId"):
        counts = [raters.get(m, 0) for m in own["movieId"]]
        bits.append(np.mean([-np.log2(max(c, 1) / users) for c in counts]))
        share.append(np.mean([c / users for c in counts]))
    assert measured["novelty"] == pytest.approx(np.mean(bits))
    assert measured["popularity_bias"] == pytest.approx(np.mean(share))


def test_neighbours_rank_as_a_plain_loop_over_similarities_does() -> None:
    given = make_tables(users=25, movies=60)
    ids = np.array(given["movie_ids"])
    training, held = Training.of(given["train"], ids), Holdout.of(given["holdout"], ids)

    ranking = rank_by_neighbors(training, held)

    stars = np.zeros((len(training.users), len(ids)))
    stars[training.user, training.movie] = training.stars
    norm = np.linalg.norm(stars, axis=0)
    for k in range(len(held)):
        # Users without a rating in training are among them.
        own = stars[training.users == held.users[held.user[k]]].sum(axis=0)
        scores = []
        for m in range(len(ids)):
            similar = stars.T @ stars[:, m] / np.maximum(norm * norm[m], 1e-12)
            similar[m] = -1
            best = np.argsort(-similar, kind="stable")[:30]
            scores.append(sum(similar[j] * own[j] for j in best if similar[j] > 0))
        unseen = np.flatnonzero(own == 0)
        mine = scores[held.movie[k]]
        better = sum(scores[m] > mine + 1e-4 for m in unseen)
        equal = sum(abs(scores[m] - mine) <= 1e-4 for m in unseen)
        assert better < ranking.rank[k] <= better + equal


def test_too_large_a_dataset_gets_no_neighbours_but_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("recsys.evaluation.baselines.MAX_KNN_CELLS", 100)

    measured = evaluate_to_document(**make_tables(), resamples=0)

    assert measured["baselines"]["item_knn"] is None
    assert "40 users x" in measured["skipped"]["item_knn"]


def test_a_champion_that_answers_like_the_candidate_measures_the_same() -> None:
    given = make_tables()
    copy = ChampionAnswers("00000000-11111111", given["predictions"], given["recommendations"])

    measured = evaluate_to_document(**given, champion=copy, resamples=50)

    champion = measured["champion"]
    assert champion["rows"] == given["holdout"].height
    for metric in ("rmse", "mae", "ndcg@10", "recall@10", "recall@20", "mrr", "coverage"):
        assert champion[metric] == champion["candidate"][metric]
        assert champion[metric] == pytest.approx(measured["model"][metric])
    differences = measured["confidence"]["differences"]
    for name in ("rmse - champion", "ndcg@10 - champion"):
        # Sums of equal numbers may differ by rounding, if they lie differently in memory.
        assert differences[name] == pytest.approx([0, 0], abs=1e-12)


def test_pairs_that_the_champion_was_trained_on_count_for_neither() -> None:
    given = make_tables()
    champion = champion_of(given)
    # It knew each user's first held-out movie. Taken out of both lists, it must not matter where
    # they had it.
    known = given["holdout"].group_by("userId", maintain_order=True).first().select(PAIR)
    fewer = replace(champion, predictions=champion.predictions.join(known, on=PAIR, how="anti"))

    measured = evaluate_to_document(**given, champion=fewer, resamples=0)["champion"]

    rest = given["holdout"].join(known, on=PAIR, how="anti")
    without = dict(given)
    without["holdout"] = rest
    for name in ("predictions", "recommendations"):
        without[name] = given[name].join(known, on=PAIR, how="anti")
    without["recommendations"] = without["recommendations"].with_columns(
        rank=pl.col("rank").rank("ordinal").over("userId")
    )
    expected = evaluate_to_document(**without, resamples=0)["model"]
    assert measured["rows"] == rest.height
    for metric in ("rmse", "mae", "ndcg@10", "recall@10", "recall@20", "mrr", "coverage"):
        assert measured["candidate"][metric] == pytest.approx(expected[metric])


def test_users_whom_the_champion_has_no_list_for_are_not_ranked() -> None:
    given = make_tables()
    champion = champion_of(given)
    some = pl.col("userId") <= 10
    shorter = replace(champion, recommendations=champion.recommendations.filter(some))

    measured = evaluate_to_document(**given, champion=shorter, resamples=20)

    only = {
        k: v.filter(some) if isinstance(v, pl.DataFrame) and "userId" in v.columns else v
        for k, v in given.items()
        if k != "train"
    }
    expected = evaluate_to_document(train=given["train"], **only, resamples=0)["model"]
    assert measured["champion"]["ranked_users"] == only["holdout"]["userId"].n_unique()
    assert measured["champion"]["rows"] == given["holdout"].height
    assert measured["champion"]["candidate"]["ndcg@10"] == pytest.approx(expected["ndcg@10"])
    assert measured["champion"]["candidate"]["coverage"] == pytest.approx(expected["coverage"])


def test_a_champion_that_knows_no_user_is_compared_by_stars_alone() -> None:
    given = make_tables()
    champion = champion_of(given)
    silent = replace(champion, recommendations=champion.recommendations.clear())

    measured = evaluate_to_document(**given, champion=silent, resamples=20)

    assert measured["champion"]["ndcg@10"] is None
    assert measured["champion"]["candidate"]["coverage"] is None
    assert measured["champion"]["rmse"] > 0
    assert measured["confidence"]["differences"]["ndcg@10 - champion"] is None
    json.dumps(measured, allow_nan=False)


def test_slices_compare_with_the_champion_on_the_same_pairs() -> None:
    given = make_tables()
    champion = champion_of(given)

    measured = evaluate_to_document(**given, champion=champion, resamples=0)

    everything = measured["slices"]["genre"]["Drama"]["champion"]
    assert everything["rows"] == measured["champion"]["rows"]
    for metric in ("rmse", "ndcg@10"):
        assert everything[metric] == pytest.approx(measured["champion"][metric])
        assert everything["candidate"][metric] == pytest.approx(measured["model"][metric])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            lambda c: replace(c, predictions=c.predictions.with_columns(movieId=10**6)),
            "twice",
        ),
        (
            lambda c: replace(c, predictions=c.predictions.with_columns(pl.col("userId") + 1000)),
            "contain pairs outside the holdout",
        ),
        (
            lambda c: replace(
                c,
                predictions=c.predictions.with_columns(
                    prediction=pl.when(pl.int_range(pl.len()) == 3).then(float("nan")).otherwise(3)
                ),
            ),
            "not finite numbers",
        ),
        (
            lambda c: replace(
                c, recommendations=c.recommendations.with_columns(pl.col("rank") + 1)
            ),
            "ranks of",
        ),
        (
            lambda c: replace(
                c, recommendations=c.recommendations.with_columns(pl.col("movieId") + 1)
            ),
            "does not have",
        ),
    ],
    ids=["doubled", "strange pairs", "not a number", "ranks", "unknown movies"],
)
def test_answers_of_the_champion_that_make_no_sense_are_refused(broken: Any, message: str) -> None:
    given = make_tables()

    with pytest.raises(EvaluationError, match=message):
        evaluate_to_document(**given, champion=broken(champion_of(given)), resamples=0)
