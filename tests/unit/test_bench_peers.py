"""The comparison with published libraries: its metrics, its protocol, and its table."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.benchmarks import bench_peers
from tests.benchmarks.bench_peers import Row, measure, ranking_scores, table
from tests.peers.answers import best_unrated

USERS, MOVIES = 40, 30


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """A split in which each user has rated 19 of 30 movies, and has one more in the holdout."""
    rng = np.random.default_rng(7)
    rows, hidden = [], []
    for user in range(1, USERS + 1):
        movies = rng.permutation(MOVIES)[: MOVIES * 2 // 3] + 1
        stars = rng.integers(1, 11, len(movies)) / 2
        made = [
            (user, int(m), float(s), 100 * i)
            for i, (m, s) in enumerate(zip(movies, stars, strict=True))
        ]
        rows += made[:-1]
        hidden += made[-1:]
    columns = {"userId": pl.Int32, "movieId": pl.Int32, "rating": pl.Float32, "timestamp": pl.Int64}
    for name, part in (("train", rows), ("holdout", hidden)):
        pl.DataFrame(part, columns, orient="row").write_parquet(tmp_path / f"{name}.parquet")
    pl.DataFrame({"movieId": range(1, MOVIES + 1)}).write_parquet(tmp_path / "movies.parquet")
    bench_peers.choose_ranked(tmp_path)
    return tmp_path


def test_ndcg_and_recall_are_those_of_their_definitions() -> None:
    lists = np.full((3, 20), -1, np.int64)
    lists[0, :3] = 7, 8, 9
    lists[1, 1], lists[1, 14] = 5, 6
    ndcg, recall = ranking_scores(lists, [frozenset({7}), frozenset({5, 6}), frozenset({4})])
    best = 1 + 1 / math.log2(3)
    assert ndcg == pytest.approx((1 + (1 / math.log2(3)) / best + 0) / 3)
    assert recall == pytest.approx((1 + 1 + 0) / 3), "the fifteenth place counts for recall only"


def test_a_recommendation_leaves_rated_movies_out() -> None:
    scores = np.array([3.0, 9.0, 5.0, 1.0])
    assert best_unrated(scores, np.array([1])).tolist() == [2, 0, 3]


def test_the_most_rated_movies_are_recommended_by_a_process_of_its_own(
    split: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_peers, "PEERS_PYTHON", Path(sys.executable))
    row = measure("popularity", split)
    train, holdout = (pl.read_parquet(split / f"{name}.parquet") for name in ("train", "holdout"))
    ranked = train.group_by("movieId").len().sort("len", descending=True)
    expected = []
    for user, movie in holdout.select("userId", "movieId").iter_rows():
        rated = set(train.filter(pl.col("userId") == user)["movieId"])
        counts = dict(ranked.filter(~pl.col("movieId").is_in(rated)).iter_rows())
        # Movies with as many ratings may come in any order.
        above = sum(count > counts[movie] for count in counts.values())
        ties = sum(count == counts[movie] for count in counts.values())
        expected.append((above, above + ties - 1))
    low, high = (
        np.mean([1 / math.log2(place[end] + 2) if place[end] < 10 else 0 for place in expected])
        for end in (1, 0)
    )
    assert low <= row.ndcg_10 <= high
    assert row.recall_20 == 1, "a user has eleven unrated movies"
    assert row.rmse is None
    assert row.fit_cpu_s >= 0
    assert row.peak_mb > 10
    assert row.artifact_mb > 0
    assert row.recommendation_ms > 0


@pytest.mark.parametrize("name", [name for name in bench_peers.PEERS if name != "popularity"])
def test_each_library_answers_for_every_user(split: Path, name: str) -> None:
    if not bench_peers.PEERS_PYTHON.exists():
        pytest.skip("the peers' environment is not set up: make peers")
    reason = bench_peers.reason_to_skip(name, split)
    if reason:
        pytest.skip(reason)
    row = measure(name, split)
    predicts_stars = name in ("LensKit BiasedMF", "LensKit item-kNN, stars") or "SVD" in name
    assert (row.rmse is not None) == predicts_stars
    assert row.rmse is None or 0.5 < row.rmse < 3, "uniform stars have a deviation of 1.44"
    assert row.recall_20 > 0.5, "twenty of eleven unrated movies are asked for"


def test_a_recommender_that_does_not_scale_is_left_out_with_its_reason(
    split: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bench_peers.MOST_RATINGS, "Surprise SVD++", 100)
    monkeypatch.setitem(bench_peers.MOST_MOVIES, "EASE", 10)
    assert bench_peers.reason_to_skip("Surprise SVD++", split) == "left out above 100 ratings"
    assert bench_peers.reason_to_skip("EASE", split) == "left out above 10 movies"
    assert bench_peers.reason_to_skip("popularity", split) is None


def test_a_recommender_that_fails_ends_the_benchmark_with_its_error(
    split: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_peers, "PEERS_PYTHON", Path(sys.executable))
    with pytest.raises(SystemExit, match=r"(?s)failed with exit code 1.*KeyError") as end:
        measure("no such model", split)
    assert "no such model" in str(end.value)


def test_the_table_has_a_row_for_each_model_and_the_reasons_below() -> None:
    row = Row("a model", 1.0, 2.0, 3456.7, None, 0.1, 0.2, 0.5, 7.0, 0.25)
    lines = table([row], {"another": "left out above 5 ratings"}).splitlines()
    assert lines[2] == "| a model | 1.0 | 2.0 | 3,457 | - | 0.1000 | 0.2000 | 50.0% | 7.0 | 0.25 |"
    assert lines[-1] == "another: left out above 5 ratings"
