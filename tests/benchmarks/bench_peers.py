"""Measures this project's models beside those of published libraries, on the same splits.

``python -m tests.benchmarks.bench_peers [FILE.json] [--source ZIP] [--large] [--datasets A,B]
[--models A,B]``

Each recommender runs in a process of its own, one after the other, and each is fitted to all but
the last tenth of each user's ratings. Its wall time, CPU and memory are those of the fit, of one
model after the imports; ours fits two, one for stars and one for ranking. NDCG@10 and Recall@20
are means over users (at most 2,000, a sample with a fixed seed), whose movies of the last tenth
are to be found, whatever their stars. Coverage is the share of all movies that appear in the first
ten of anyone's list.

The libraries have their own locked environment (``tests/peers``); ``make bench BENCHMARKS=peers``
sets it up. ``--large`` adds 10,000,000 ratings. docs/performance.md has the table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypedDict

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tests.benchmarks.bench_models import write_split
from tests.real_dataset import real_dataset

ROOT: Final = Path(__file__).resolve().parents[2]
PEERS_PYTHON: Final = ROOT / ".tools/peers/bin/python"
OURS: Final = "this project"
GENERATED: Final = {"generated 1 M": 1_000_000, "generated 10 M": 10_000_000}
LARGE: Final = "generated 10 M"
PEERS: Final = (
    "popularity",
    "implicit ALS",
    "implicit BPR",
    "EASE",
    "LensKit BiasedMF",
    "LensKit item-kNN, stars",
    "LensKit item-kNN, visits",
    "Surprise SVD",
    "Surprise SVD++",
)
MOST_RATINGS: Final = {
    "LensKit item-kNN, stars": 2_000_000,
    "LensKit item-kNN, visits": 2_000_000,
    "Surprise SVD": 2_000_000,
    "Surprise SVD++": 200_000,
}
"""Above so many, a fit takes hours or more memory than the others' machine has."""
MOST_MOVIES: Final = {"EASE": 20_000}
"""The matrix of all pairs of movies is inverted: 1.6 GB at 20,000."""
RANKED_USERS: Final = 2_000
"""Some libraries need 100 ms for the recommendation of a user."""
CUT: Final = 10
Lists = NDArray[np.int64]


class Scores(TypedDict):
    """Metrics of a recommender's answers; see `Row`."""

    rmse: float | None
    ndcg_10: float
    recall_20: float
    coverage: float


@dataclass(frozen=True)
class Row:
    """What was measured of one recommender; None: not defined."""

    model: str
    fit_wall_s: float
    fit_cpu_s: float
    peak_mb: float
    rmse: float | None
    ndcg_10: float
    recall_20: float
    coverage: float
    artifact_mb: float
    recommendation_ms: float


def choose_ranked(folder: Path) -> None:
    """Writes the ids of the users who get recommendations, sorted, as ``ranked.npy``."""
    known = pl.read_parquet(folder / "train.parquet", columns=["userId"])["userId"].unique()
    asked = pl.read_parquet(folder / "holdout.parquet", columns=["userId"])["userId"].unique()
    both = np.intersect1d(known.to_numpy(), asked.to_numpy())
    if len(both) > RANKED_USERS:
        both = np.sort(np.random.default_rng(0).choice(both, RANKED_USERS, replace=False))
    np.save(folder / "ranked.npy", both)


def score(folder: Path) -> Scores:
    """Computes the metrics of the answers below ``folder``."""
    holdout = pl.read_parquet(folder / "holdout.parquet")
    lists, ranked = np.load(folder / "lists.npy"), np.load(folder / "ranked.npy")
    rmse = None
    if (folder / "stars.npy").exists():
        error = np.load(folder / "stars.npy") - holdout["rating"].to_numpy()
        rmse = float(np.sqrt(np.mean(np.square(error))))
    movies = pl.scan_parquet(folder / "movies.parquet").select(pl.len()).collect().item()
    relevant = dict(
        holdout.filter(pl.col("userId").is_in(ranked)).group_by("userId").agg("movieId").iter_rows()
    )
    ndcg, recall = ranking_scores(lists, [frozenset(relevant[user]) for user in ranked.tolist()])
    shown = np.unique(lists[:, :CUT])
    return {
        "rmse": rmse,
        "ndcg_10": ndcg,
        "recall_20": recall,
        "coverage": int((shown >= 0).sum()) / movies,
    }


def ranking_scores(lists: Lists, relevant: Sequence[frozenset[int]]) -> tuple[float, float]:
    """Returns NDCG@10 with binary gains, and the share of relevant movies in the whole list.

    Args:
        lists: ids of recommended movies by user, best first, -1 where a list is shorter.
        relevant: the movies to be found, by user; none is empty.
    """
    hits = np.array(
        [
            [movie in wanted for movie in row]
            for row, wanted in zip(lists.tolist(), relevant, strict=True)
        ]
    )
    gain = 1 / np.log2(np.arange(2, CUT + 2))
    count = np.array([len(wanted) for wanted in relevant])
    ideal = np.cumsum(gain)[np.minimum(count, CUT) - 1]
    return float((hits[:, :CUT] @ gain / ideal).mean()), float((hits.sum(axis=1) / count).mean())


def measure(name: str, folder: Path, settings: dict[str, Any] | None = None) -> Row:
    """Runs one recommender on a split.

    Raises:
        SystemExit: its process failed.
    """
    trainer = os.environ.get("RECSYS_TRAINER_PYTHON") or str(ROOT / "trainer/.venv/bin/python")
    if name == OURS:
        command = [trainer, "-m", "tests.peers.ours", str(folder), json.dumps(settings or {})]
    else:
        command = [str(PEERS_PYTHON), "-m", "tests.peers.libraries", name, str(folder)]
    # The library says that its threads and those of BLAS are in each other's way.
    alone = {"OPENBLAS_NUM_THREADS": "1"} if name.startswith("implicit") else {}
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    with TemporaryDirectory(prefix="recsys-peers-") as own:
        for file in folder.iterdir():
            Path(own, file.name).symlink_to(file)
        command[command.index(str(folder))] = own
        done = subprocess.run(  # our own interpreters and modules
            command,
            cwd=ROOT,
            env={**environment, **alone, "PYTHONPATH": f"{ROOT}/src:{ROOT}"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(
                f"{name} failed with exit code {done.returncode}:\n{done.stderr[-2000:]}"
            )
        return Row(name, **json.loads(done.stdout.splitlines()[-1]), **score(Path(own)))


def reason_to_skip(name: str, folder: Path) -> str | None:
    """Returns why a recommender is left out at this size; None if it is not."""
    train = pl.scan_parquet(folder / "train.parquet")
    ratings, movies = train.select(pl.len(), movies=pl.col("movieId").n_unique()).collect().row(0)
    if ratings > MOST_RATINGS.get(name, ratings):
        return f"left out above {MOST_RATINGS[name]:,} ratings"
    if movies > MOST_MOVIES.get(name, movies):
        return f"left out above {MOST_MOVIES[name]:,} movies"
    if name.startswith("LensKit") and not list(
        PEERS_PYTHON.parents[1].glob("lib/*/site-packages/lenskit")
    ):
        return "this edition of LensKit is for Python 3.11"
    return None


def splits(source: Path, folder: Path, names: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Yields the name of each dataset and the folder of its split."""
    from recsys.dataset import open_dataset, write_sample
    from recsys.experiments import read_in_file_order

    for name in names:
        path = source
        if name in GENERATED:
            path = folder / "generated.zip"
            write_sample(path, ratings=GENERATED[name], seed=1)
        with open_dataset(path) as archive:
            rows, movies = read_in_file_order(archive)
        split = folder / name.replace(" ", "-")
        write_split(split, "temporal-10", rows, movies)
        choose_ranked(split)
        yield name, split


def table(rows: Sequence[Row], skipped: dict[str, str]) -> str:
    """Returns the rows as a table in Markdown."""
    lines = [
        "| model | wall s | CPU s | peak MB | RMSE | NDCG@10 | Recall@20 | coverage | artifact MB "
        "| ms a recommendation |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        rmse = "-" if row.rmse is None else f"{row.rmse:.4f}"
        lines.append(
            f"| {row.model} | {row.fit_wall_s:.1f} | {row.fit_cpu_s:.1f} | {row.peak_mb:,.0f} "
            f"| {rmse} | {row.ndcg_10:.4f} | {row.recall_20:.4f} | {row.coverage:.1%} "
            f"| {row.artifact_mb:.1f} | {row.recommendation_ms:.2f} |"
        )
    lines += [f"\n{name}: {reason}" for name, reason in skipped.items()]
    return "\n".join(lines)


def main() -> None:
    """Prints the tables and, if a file is given, writes the figures to it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--source", type=Path, help="a MovieLens zip; default: that of the tests")
    parser.add_argument("--datasets", help="names, separated by semicolons; default: all but 10 M")
    parser.add_argument("--models", help="names, separated by semicolons; default: all")
    parser.add_argument("--large", action="store_true", help="also 10,000,000 ratings")
    options = parser.parse_args()
    if not PEERS_PYTHON.exists():
        sys.exit("the peers' environment is missing: run `make peers`")
    names = [name for name in ("ml-latest-small", *GENERATED) if name != LARGE or options.large]
    names = options.datasets.split(";") if options.datasets else names
    models = options.models.split(";") if options.models else [*PEERS, OURS]
    found: dict[str, Any] = {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "datasets": {},
    }
    source = options.source or (real_dataset(ROOT) if "ml-latest-small" in names else Path())
    with TemporaryDirectory(prefix="recsys-bench-") as folder:
        for name, split in splits(source, Path(folder), names):
            load = os.getloadavg()[0]
            print(f"\n{name} (load average {load:.1f})", flush=True)
            reasons = {model: reason_to_skip(model, split) for model in models}
            skipped = {model: reason for model, reason in reasons.items() if reason}
            rows = []
            for model in models:
                if model not in skipped:
                    rows.append(measure(model, split))
                    print(f"  {model}: {rows[-1].fit_cpu_s:.1f} CPU s", file=sys.stderr, flush=True)
            print(table(rows, skipped), flush=True)
            found["datasets"][name] = {
                "load_average": load,
                "rows": [asdict(row) for row in rows],
                "skipped": skipped,
            }
            if options.file:
                options.file.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
