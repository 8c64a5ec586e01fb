"""Metrics on the real dataset against published libraries: RecTools and scikit-learn.

RecTools has an environment of its own (tests/reference/requirements.txt), made by `make test`.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.dataset import open_dataset
from recsys.evaluation import Holdout, Training, baselines, predicted_stars
from recsys.experiments import SplitName, read_in_file_order
from recsys.experiments.splits import holdout_masks, mark_holdout
from tests.metrics_maker import evaluate_to_document


@pytest.fixture(scope="module")
def rectools(repository: Path) -> Path:
    python = repository / ".tools" / "reference" / "bin" / "python"
    if not python.exists():
        pytest.skip("RecTools is not installed: `make reference` needs a network")
    return python


@pytest.fixture(scope="module", params=[SplitName.RANDOM_10, SplitName.TEMPORAL_20])
def answered(request: pytest.FixtureRequest, ml_latest_small: Path) -> dict[str, Any]:
    """A split of the real dataset, predicted by biases and ranked by a truncated SVD."""
    with open_dataset(ml_latest_small) as archive:
        rows, movies = read_in_file_order(archive)
    table = mark_holdout(rows, next(holdout_masks(request.param, rows)))
    train, holdout = (table.filter(pl.col("split") == part) for part in ("train", "holdout"))
    ids = np.sort(movies["movieId"].to_numpy()).astype(np.int64)
    training, held = Training.of(train, ids), Holdout.of(holdout, ids)
    stars = np.zeros((len(training.users), len(ids)), np.float32)
    stars[training.user, training.movie] = training.stars
    # The users' side of the SVD from their small Gram matrix; the movies' side follows from it.
    left = np.linalg.eigh(stars @ stars.T)[1][:, -24:]
    scores = left @ (left.T @ stars)
    scores[stars > 0] = -np.inf
    best = np.argsort(-scores, axis=1)[:, :100]
    asked = np.isin(training.users, held.users)
    lists = pl.DataFrame(
        {
            "userId": np.repeat(training.users[asked], 100),
            "movieId": ids[best[asked].ravel()],
            "rank": np.tile(np.arange(1, 101), asked.sum()),
            "score": np.take_along_axis(scores, best, axis=1)[asked].ravel(),
        }
    )
    answers = {
        "train": train,
        "holdout": holdout,
        "predictions": holdout.with_columns(
            prediction=pl.Series(predicted_stars(training, held)["bias"])
        ),
        "recommendations": lists,
        "movie_ids": movies["movieId"],
    }
    with pytest.MonkeyPatch.context() as patch:
        if request.param is SplitName.RANDOM_10:
            # Nearest neighbors take most of the time, and are compared on temporal-20 only.
            patch.setattr(baselines, "MAX_KNN_CELLS", 0)
        measured = evaluate_to_document(**answers, resamples=0)
    return {**answers, "measured": measured}


def test_rankings_measure_as_in_rectools(
    answered: dict[str, Any], rectools: Path, repository: Path, tmp_path: Path
) -> None:
    names = {"userId": "user_id", "movieId": "item_id", "rank": "rank"}
    for file, table, columns in (
        ("train", answered["train"], 2),
        ("holdout", answered["holdout"], 2),
        ("lists", answered["recommendations"], 3),
    ):
        table.select(list(names)[:columns]).rename(dict(list(names.items())[:columns])).write_csv(
            tmp_path / f"{file}.csv"
        )
    answered["movie_ids"].alias("item_id").to_frame().write_csv(tmp_path / "catalog.csv")
    script = repository / "tests" / "reference" / "measure.py"
    done = subprocess.run([rectools, script, tmp_path], capture_output=True, text=True, check=True)

    measured = answered["measured"]["model"]

    expected = json.loads(done.stdout)
    assert len(expected) == 7
    assert {name: measured[name] for name in expected} == pytest.approx(expected, abs=1e-9)


def test_rating_errors_measure_as_in_scikit_learn(answered: dict[str, Any]) -> None:
    # Here, because every process of a parallel run imports all test modules.
    from sklearn.metrics import mean_absolute_error, root_mean_squared_error

    measured = answered["measured"]["model"]

    truth = answered["holdout"]["rating"].to_numpy().astype(np.float64)
    stars = answered["predictions"]["prediction"].to_numpy()
    assert measured["rmse"] == pytest.approx(root_mean_squared_error(truth, stars), abs=1e-12)
    assert measured["mae"] == pytest.approx(mean_absolute_error(truth, stars), abs=1e-12)


def test_anchors_measured_elsewhere_are_met(answered: dict[str, Any]) -> None:
    # BaselineOnly of scikit-surprise on random-10; popularity and cosine item-kNN (k=30) counted
    # by plain scripts on temporal-20.
    baselines = answered["measured"]["baselines"]

    if answered["holdout"].height == 10_084:
        assert baselines["bias"]["rmse"] == pytest.approx(0.872, abs=5e-4)
    else:
        assert baselines["popularity"]["ndcg@10"] == pytest.approx(0.089, abs=1e-3)
        assert baselines["item_knn"]["ndcg@10"] == pytest.approx(0.129, abs=3e-3)
