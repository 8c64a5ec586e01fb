"""Compares served towers of a warm start with those of a refit, on ratings that both never saw.

``python -m tests.benchmarks.bench_serving [FILE.json] [--source ZIP ...] [--ratings N]`` prints a
table and writes it as JSON. Of each dataset, every user's newest tenth is set aside. The rest is
split as the pipeline splits a dump: the evaluated models are fitted to its training part,
and the served models to all of it, once by each method. The rows set aside are then predicted and
ranked. docs/adr/0030-a-warm-start-serves.md is based on the results.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import polars as pl

ROOT: Final = Path(__file__).resolve().parents[2]
SET_ASIDE: Final = 0.1
METHODS: Final = ("refit", "warm_start")
Facts = dict[str, Any]


def prepare(source: str, folder: Path, *, later_half: bool) -> None:
    """Writes ``rest`` (with the pipeline's split), ``future`` and ``movies`` as parquet."""
    from recsys.contract import FeatureSettings
    from recsys.experiments import make_local_features
    from recsys.features.split import Cuts, find_moment, rows_by_day, split_rows

    settings = FeatureSettings()
    make_local_features(source, folder, settings, lambda *_: None)
    rows = pl.read_parquet(folder / "interactions.parquet").drop("split")
    if later_half:
        rows = rows.filter(pl.col("timestamp") >= rows["timestamp"].median())
    marked = split_rows(rows, Cuts(SET_ASIDE))
    marked.filter(pl.col("split") == "holdout").drop("split").write_parquet(
        folder / "future.parquet"
    )
    rest = marked.filter(pl.col("split") != "holdout").drop("split")
    moment = find_moment(rows_by_day(rest.lazy()).collect(), settings.time_holdout_share)
    split_rows(rest, Cuts(settings.holdout_share, moment)).write_parquet(folder / "rest.parquet")


def compare(folder: Path, seed: int, overrides: dict[str, Any]) -> Facts:
    """Fits once, serves by each method, and measures both on the rows set aside."""
    from recsys.evaluation import (
        TRAIN,
        ForwardAnswers,
        compare_forward,
        part,
        recommend,
    )
    from trainer.architecture import Fit
    from trainer.checkpoints import NO_CHECKPOINTS
    from trainer.config import training_config
    from trainer.data import check_tables
    from trainer.default_architecture import fit_models
    from trainer.training import fit_served

    rest, future = (pl.read_parquet(folder / f"{name}.parquet") for name in ("rest", "future"))
    rest, movies = check_tables(rest, pl.read_parquet(folder / "movies.parquet"))
    config = training_config(overrides)
    ids = movies["movieId"].unique().sort().to_numpy()

    def answers(fit: Fit) -> ForwardAnswers:
        stars = fit.rating.predict(future["userId"].to_numpy(), future["movieId"].to_numpy())
        lists = recommend(fit.towers, future["userId"].unique().sort().to_numpy(), rest)
        return ForwardAnswers(
            future.select("userId", "movieId", prediction=pl.Series(stars)), lists
        )

    def cost() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    wall, cpu = cost()
    evaluated = fit_models(
        part(rest, TRAIN), movies, config, seed, lambda _: None, "evaluated", NO_CHECKPOINTS
    )
    facts: Facts = {"evaluated": _measured(answers(evaluated), future, ids, wall, cpu)}
    served = {}
    for method in METHODS:
        serving = config.serving.model_copy(update={"method": method})
        wall, cpu = cost()
        fit = fit_served(
            rest, movies, config.model_copy(update={"serving": serving}), seed, evaluated
        )
        ended = cost()
        served[method] = answers(fit)
        facts[method] = {
            **_measured(served[method], future, ids, wall, cpu),
            "s": ended[0] - wall,
            "cpu_s": ended[1] - cpu,
        }
    facts["warm_start minus refit"] = {
        name: list(ends)
        for name, ends in compare_forward(
            future, ids, served["warm_start"], served["refit"]
        ).items()
    }
    return facts


def _measured(answers: Any, future: pl.DataFrame, ids: Any, wall: float, cpu: float) -> Facts:
    from recsys.evaluation import measure_forward

    spent = {"s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    found = measure_forward(future, ids, answers).metrics
    return {name: realized.value for name, realized in found.items()} | spent


def run(sources: dict[str, tuple[str, bool]], seeds: int, overrides: dict[str, Any]) -> Facts:
    """Measures all datasets in sequence, each seed in a process of the trainer's environment."""
    python = os.environ.get("RECSYS_TRAINER_PYTHON") or str(ROOT / "trainer/.venv/bin/python")
    found: Facts = {}
    for name, (source, later_half) in sources.items():
        with TemporaryDirectory(prefix="recsys-bench-") as folder:
            prepare(source, Path(folder), later_half=later_half)
            for seed in range(seeds):
                print(f"measuring: {name}, seed {seed}", file=sys.stderr, flush=True)
                asked = ("--seed", str(seed), "--overrides", json.dumps(overrides))
                done = subprocess.run(
                    [python, "-m", __spec__.name, "--child", folder, *asked],
                    cwd=ROOT,
                    env={**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}"},
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                found[f"{name}, seed {seed}"] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(found: Facts) -> str:
    """Returns one line for each fit, and one for each difference."""
    lines = [f"{'dataset':28} {'models':12} {'RMSE':>8} {'NDCG@10':>8} {'recall':>8} {'CPU s':>7}"]
    for dataset, facts in found.items():
        for models in ("evaluated", *METHODS):
            one = facts[models]
            lines.append(
                f"{dataset:28} {models:12} {one['rmse']:8.4f} {one['ndcg@10']:8.4f} "
                f"{one['recall@10']:8.4f} {one['cpu_s']:7.1f}"
            )
        ends = facts["warm_start minus refit"]
        text = ", ".join(
            f"{metric} {low:+.4f} to {high:+.4f}" for metric, (low, high) in ends.items()
        )
        lines.append(f"{dataset:28} warm start minus refit, 95 %: {text}")
    return "\n".join(lines)


def main() -> None:
    """Prints the table and, if a file is given, writes the figures to it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--source", action="append", default=[], help="zip; may be repeated")
    parser.add_argument("--ratings", type=int, default=300_000, help="of the generated dataset")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--overrides", type=json.loads, default={}, help="JSON; see recsys train")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(compare(options.child, options.seed, options.overrides)))
        return
    from recsys.dataset import write_sample

    with TemporaryDirectory(prefix="recsys-bench-") as folder:
        sources = {Path(one).stem: (one, False) for one in options.source}
        sources |= {f"{Path(one).stem}, later half": (one, True) for one in options.source}
        if options.ratings:
            generated = Path(folder) / "generated.zip"
            write_sample(generated, ratings=options.ratings)
            sources[f"generated, {options.ratings:,}"] = (str(generated), False)
        found = run(sources, options.seeds, options.overrides)
    print(table(found))
    if options.file:
        options.file.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
