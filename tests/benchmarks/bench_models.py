"""Measures both models beside strong baselines on several datasets, with intervals.

``python -m tests.benchmarks.bench_models [FILE.json] [--source ZIP] [--seeds N] [--datasets A,B]``

- ranking: NDCG@10 of each user's last visit and of the last fifth of each user's ratings; the
  towers beside popularity and the best forms of EASE, with the paired difference to each.
- rating: RMSE of the last tenth of each user's ratings, of a random tenth, and of all ratings
  after one moment.

``before`` are the settings of the models' first version. The subsets of ml-latest-small overlap
with it; only the generated dataset has no real rating. docs/adr/0006-the-rating-model.md and
docs/adr/0007-the-ranking-towers.md have the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tests.real_dataset import real_dataset

ROOT: Final = Path(__file__).resolve().parents[2]
RANKING_SPLITS: Final = ("last-visit", "temporal-20")
RATING_SPLITS: Final = ("temporal-10", "random-10", "moment")
BEFORE: Final[dict[str, dict[str, Any]]] = {
    "ranking": {"epochs": 4, "transition_weight": 0.2, "ease_weight": 0.0},
    "rating": {"members": 16, "samples": 0, "recency": 0.0},
}
CUT: Final = 10
_SAMPLE_RATINGS: Final = 100_000
_EASE: Final = {
    "EASE": (500.0, np.inf, 0.0),
    "EASE, recency 5, 0.5": (500.0, 5.0, 0.5),
    "EASE, recency 10, 0.3": (200.0, 10.0, 0.3),
}
"""Penalty, and history weights exp(-age / scale) + least."""
Facts = dict[str, Any]
Scores = NDArray[np.float64]


def datasets(source: Path, folder: Path) -> Iterator[tuple[str, pl.DataFrame, pl.DataFrame]]:
    """Yields name, ratings and movies of each dataset."""
    from recsys.dataset import open_dataset, write_sample
    from recsys.experiments import read_in_file_order

    with open_dataset(source) as archive:
        rows, movies = read_in_file_order(archive)
    when = pl.col("timestamp").cast(pl.Int64)
    middle = rows.select(when.median()).item()
    yield "ml-latest-small", rows, movies
    yield "users of even id", rows.filter(pl.col("userId") % 2 == 0), movies
    yield "users of odd id", rows.filter(pl.col("userId") % 2 == 1), movies
    yield "the earlier half", rows.filter(when < middle), movies
    yield "the later half", rows.filter(when >= middle), movies
    generated = folder / "generated.zip"
    write_sample(generated, ratings=_SAMPLE_RATINGS, seed=1)
    with open_dataset(generated) as archive:
        yield "generated 100 K", *read_in_file_order(archive)


def write_split(folder: Path, split: str, rows: pl.DataFrame, movies: pl.DataFrame) -> None:
    """Writes ``train``, ``holdout`` and ``movies`` as parquet."""
    from recsys.contract import FeatureSettings
    from recsys.experiments import SplitName
    from recsys.experiments.splits import holdout_masks
    from recsys.features.split import find_moment, rows_by_day

    rows = rows.with_columns(pl.col("timestamp").cast(pl.Int64))
    if split == "moment":
        share = FeatureSettings().time_holdout_share
        moment = find_moment(rows_by_day(rows.lazy()).collect(), share)
        if moment is None:
            raise SystemExit("the dataset has no moment with a later rating")
        mask = (rows["timestamp"] >= moment).to_numpy()
    else:
        mask = next(iter(holdout_masks(SplitName(split), rows)))
    folder.mkdir(parents=True)
    rows.filter(pl.Series(~mask)).write_parquet(folder / "train.parquet")
    rows.filter(pl.Series(mask)).write_parquet(folder / "holdout.parquet")
    movies.write_parquet(folder / "movies.parquet")


def measure(folder: Path, seeds: int, *, ranking: bool) -> Facts:
    """Measures one split of a dataset; runs in the trainer's environment."""
    from trainer.data import make_ratings

    train, holdout, movies = (
        pl.read_parquet(folder / f"{name}.parquet") for name in ("train", "holdout", "movies")
    )
    ratings = make_ratings(train, movies)
    return (
        _measure_ranking(ratings, holdout, seeds)
        if ranking
        else _measure_stars(ratings, train, holdout, movies, seeds)
    )


def _measure_ranking(ratings: Any, holdout: pl.DataFrame, seeds: int) -> Facts:
    from trainer.config import RankingConfig
    from trainer.ranking.fit import fit_towers

    holdout = holdout.filter(pl.col("userId").is_in(ratings.user_ids))
    user = np.searchsorted(ratings.user_ids, holdout["userId"].to_numpy())
    movie = np.searchsorted(ratings.movie_ids, holdout["movieId"].to_numpy())
    asked, user = np.unique(user, return_inverse=True)
    seen = np.zeros((len(ratings.user_ids), len(ratings.movie_ids)), np.bool_)
    seen[ratings.user, ratings.movie] = True
    relevant = np.zeros((len(asked), len(ratings.movie_ids)), np.bool_)
    relevant[user, movie] = True

    def ndcg(scores: NDArray[np.floating]) -> Scores:
        open_scores = np.where(seen[asked], -np.inf, scores)
        top = np.argsort(-open_scores, axis=1, kind="stable")[:, :CUT]
        gain = 1 / np.log2(np.arange(2, CUT + 2))
        found = (np.take_along_axis(relevant, top, axis=1) * gain).sum(axis=1)
        ideal = np.cumsum(gain)[np.minimum(relevant.sum(axis=1), CUT) - 1]
        made: Scores = found / ideal
        return made

    popularity = np.bincount(ratings.movie, minlength=len(ratings.movie_ids)).astype(float)
    by_model = {"popularity": [ndcg(np.broadcast_to(popularity, relevant.shape))]}
    for name, (penalty, scale, least) in _EASE.items():
        by_model[name] = [ndcg(ease_scores(ratings, asked, penalty, scale, least))]
    cpu_s: dict[str, list[float]] = {}
    for name, overrides in (("towers before", BEFORE["ranking"]), ("towers", {})):
        # One seed of the old settings is enough to compare times and levels.
        for seed in range(seeds if not overrides else 1):
            began = time.process_time()
            config, rng = RankingConfig(**overrides), np.random.default_rng(seed)
            towers = fit_towers(ratings, config, rng, lambda _: None)
            cpu_s.setdefault(name, []).append(time.process_time() - began)
            by_model.setdefault(name, []).append(ndcg(towers.users[asked] @ towers.movies.T))
    own = np.mean(by_model["towers"], axis=0)
    return {
        "users": len(asked),
        "models": {
            name: {
                "mean": float(np.mean(values)),
                "standard_error": _standard_error([float(v.mean()) for v in values]),
                "towers_minus_it": _interval(own - np.mean(values, axis=0)),
                "cpu_s": float(np.mean(cpu_s.get(name, [0.0]))),
            }
            for name, values in by_model.items()
        },
    }


def ease_scores(
    ratings: Any, asked: NDArray[np.int64], penalty: float, scale: float, least: float
) -> Scores:
    """Scores all movies by EASE of full rank (Steck, WWW 2019), apart from the trainer's code.

    Args:
        ratings: a `trainer.data.Ratings`.
        asked: indices of the users.
        penalty: L2 penalty.
        scale: a history's weights are exp(-age / scale) + least, with the age in ratings.
        least: see ``scale``.
    """
    rated = np.zeros((len(ratings.user_ids), len(ratings.movie_ids)))
    history = np.zeros_like(rated)
    rated[ratings.user, ratings.movie] = 1
    age = ratings.user_start[ratings.user + 1] - 1 - np.arange(len(ratings))
    history[ratings.user, ratings.movie] = np.exp(-age / scale) + least
    history = history[asked]
    # The inverse of X'X + penalty, by the users' side: (I - X'(XX' + penalty)^-1 X) / penalty.
    solved = np.linalg.solve(rated @ rated.T + penalty * np.eye(len(rated)), rated)
    diagonal = 1 - np.einsum("um,um->m", rated, solved)
    made: Scores = history - (history - (history @ rated.T) @ solved) / diagonal
    return made


def _measure_stars(
    ratings: Any, train: pl.DataFrame, holdout: pl.DataFrame, movies: pl.DataFrame, seeds: int
) -> Facts:
    from recsys.evaluation import Holdout, Training, predicted_stars
    from trainer.config import training_config
    from trainer.rating.fit import fit_rating_model
    from trainer.rating.gibbs import sample_ratings_model
    from trainer.rating.model import recency_weights

    users, asked = (holdout[column].to_numpy() for column in ("userId", "movieId"))
    truth = holdout["rating"].to_numpy().astype(np.float64)
    ids = np.sort(movies["movieId"].to_numpy()).astype(np.int64)
    columns = ["userId", "movieId", "rating"]
    baselines = predicted_stars(
        Training.of(train.select(columns), ids), Holdout.of(holdout.select(columns), ids)
    )
    # `Holdout` sorts its pairs; the baseline's error does not depend on their order.
    bias_error = baselines["bias"] - Holdout.of(holdout.select(columns), ids).stars
    found: dict[str, list[float]] = {"bias model": [float(np.sqrt(np.mean(bias_error**2)))]}
    cpu_s: dict[str, list[float]] = {}

    def record(name: str, predict: Callable[[Any, Any], Any], began: float) -> None:
        cpu_s.setdefault(name, []).append(time.process_time() - began)
        error = predict(users, asked) - truth
        found.setdefault(name, []).append(float(np.sqrt(np.mean(error**2))))

    now = training_config({}).rating.resolve_size(len(ratings))
    if not now.samples:
        raise SystemExit("the dataset is too large: no samples are drawn by default")
    before = training_config({"rating": BEFORE["rating"]}).rating.resolve_size(len(ratings))
    for seed in range(seeds):
        rng, for_samples = np.random.default_rng(seed).spawn(2)
        began = time.process_time()
        old = fit_rating_model(ratings, before, rng, lambda _: None).folded
        record("members, before", old.predict, began)
        weights = recency_weights(ratings, now.recency)
        began = time.process_time()
        sampled = sample_ratings_model(
            ratings, now.sample_factors, now.samples, weights, for_samples
        )
        sampling = time.process_time() - began
        record("samples alone", sampled.predict, began)
        for recency in (0.0, now.recency):
            config = now.model_copy(update={"recency": recency})
            began = time.process_time()
            members = fit_rating_model(ratings, config, rng, lambda _: None).folded
            record(f"members, recency {recency:g}", members.predict, began)
            both = members.average(sampled).compress(config.export_dim)
            record(f"average, recency {recency:g} of members", both.predict, began - sampling)
    return {
        "users": len(np.unique(users)),
        "models": {
            name: {
                "mean": float(np.mean(values)),
                "standard_error": _standard_error(values),
                "cpu_s": float(np.mean(cpu_s.get(name, [0.0]))),
            }
            for name, values in found.items()
        },
    }


def _standard_error(values: list[float]) -> float | None:
    """Standard error of the mean over seeds; None for one seed."""
    return float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else None


def _interval(difference: Scores) -> tuple[float, float]:
    """95 % interval of the mean difference, over users."""
    half = 1.96 * float(difference.std(ddof=1)) / len(difference) ** 0.5
    return float(difference.mean()) - half, float(difference.mean()) + half


def table(facts: Facts) -> str:
    """Returns one line for each model of a split."""
    lines = []
    for name, found in facts["models"].items():
        error = found["standard_error"]
        text = f"  {name:34} {found['mean']:.4f}"
        text += f" +- {error:.4f}" if error is not None else " " * 10
        text += f"  {found['cpu_s']:6.1f} CPU s"
        if "towers_minus_it" in found and name != "towers":
            low, high = found["towers_minus_it"]
            text += f"   towers minus it: {low:+.4f} to {high:+.4f}"
        lines.append(text)
    return "\n".join(lines)


def run(source: Path, seeds: int, chosen: str | None, splits: str | None) -> Facts:
    """Measures all datasets in sequence, each split in a process of the trainer's environment."""
    python = os.environ.get("RECSYS_TRAINER_PYTHON") or str(ROOT / "trainer/.venv/bin/python")
    wanted = splits.split(",") if splits else [*RANKING_SPLITS, *RATING_SPLITS]
    tables: Facts = {}
    with TemporaryDirectory(prefix="recsys-bench-") as folder:
        for number, (name, rows, movies) in enumerate(datasets(source, Path(folder))):
            if chosen and name not in chosen.split(","):
                continue
            for split in wanted:
                part = Path(folder, f"{number}-{split}")
                write_split(part, split, rows, movies)
                ranking = ("--ranking",) if split in RANKING_SPLITS else ()
                done = subprocess.run(
                    [python, "-m", __spec__.name, "--child", part, "--seeds", str(seeds), *ranking],
                    cwd=ROOT,
                    env={**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}"},
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                facts = json.loads(done.stdout.splitlines()[-1])
                metric = "NDCG@10" if ranking else "RMSE"
                print(f"\n{name}, {split}: {metric}, {facts['users']} users, {seeds} seeds")
                print(table(facts), flush=True)
                tables.setdefault(name, {})[split] = facts
    return tables


def main() -> None:
    """Prints the tables and, if a file is given, writes the figures to it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--source", type=Path, help="a MovieLens zip; default: that of the tests")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--datasets", help="names, separated by commas; default: all")
    parser.add_argument("--splits", help="names, separated by commas; default: all")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--ranking", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child, options.seeds, ranking=options.ranking)))
        return
    source = options.source or real_dataset(ROOT)
    found = run(source, options.seeds, options.datasets, options.splits)
    if options.file:
        options.file.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
