"""Measures training and inference of the rating model with the ids of the largest MovieLens.

``python -m tests.benchmarks.bench_training [FILE.json] [--ratings N]`` prints a table and writes it
as JSON. Each row is measured on generated ratings in a new process of the trainer's environment, so
that peak memory is measured separately. docs/adr/0006-the-rating-model.md is based on the results.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
USERS: Final = 200_948
MOVIES: Final = 87_585
RATINGS: Final = 8_000_000
MEASURED_S: Final = 12.0
REFERENCE_BATCHES: Final = (1024, 4096)
REFERENCE_FACTORS: Final = 32
STAR_CLASSES: Final = 10
Facts = dict[str, Any]


def reference(ratings: int, batch: int) -> Facts:
    """Trains a textbook model: two embeddings and a dense softmax over classes of stars."""
    import keras
    import numpy as np

    user, movie, stars = _generated(ratings)
    user_id, movie_id = keras.Input((1,)), keras.Input((1,))
    flat = [
        keras.layers.Flatten()(keras.layers.Embedding(rows, REFERENCE_FACTORS)(ids))
        for rows, ids in ((USERS, user_id), (MOVIES, movie_id))
    ]
    hidden = keras.layers.Dense(64, activation="relu")(keras.layers.Concatenate()(flat))
    classes = keras.layers.Dense(STAR_CLASSES, activation="softmax")(hidden)
    model = keras.Model([user_id, movie_id], classes)
    model.compile("adam", "sparse_categorical_crossentropy")
    level = (stars * 2 - 1).astype(np.int32)

    def fit(steps: int) -> None:
        rows = slice(0, steps * batch)
        model.fit([user[rows], movie[rows]], level[rows], batch, epochs=1, verbose=0)

    fit(2)  # compilation is not measured
    started = time.perf_counter()
    fit(8)
    steps = max(8, int(8 * MEASURED_S / (time.perf_counter() - started)))
    steps = min(steps, ratings // batch)
    started, cpu = time.perf_counter(), time.process_time()
    fit(steps)
    return {
        "examples_per_s": steps * batch / (time.perf_counter() - started),
        "examples_per_cpu_s": steps * batch / (time.process_time() - cpu),
    }


def ours(ratings: int) -> Facts:
    """Trains the rating model for at most one epoch, at the size for 32,000,000 ratings."""
    import numpy as np
    import tensorflow as tf

    from trainer.config import RatingConfig
    from trainer.data import Ratings
    from trainer.rating.batches import epoch_batches
    from trainer.rating.model import RatingMembers

    tf.config.experimental.enable_op_determinism()
    user, movie, stars = _generated(ratings)
    rng = np.random.default_rng(0)
    content = (rng.random((MOVIES, 39)) < 0.08).astype(np.float32)
    table = Ratings(
        user_ids=np.arange(USERS, dtype=np.int32),
        movie_ids=np.arange(MOVIES, dtype=np.int32),
        content=content,
        user=user,
        movie=movie,
        stars=stars,
    )
    # The size for the largest MovieLens, independent of the number of generated ratings.
    config = RatingConfig().resolve_size(32_000_000)
    members = RatingMembers(table, config, rng)
    done, first, started, cpu, loss = 0, 0, 0.0, 0.0, None
    for batch in epoch_batches(table, config, rng):
        loss = members.step(batch)
        done += len(batch.targets)
        if not first:
            float(loss)
            first, started, cpu = done, time.perf_counter(), time.process_time()
        if time.perf_counter() - started > MEASURED_S:
            break
    float(loss)  # type: ignore[arg-type]  # there is at least one batch
    speed = (done - first) / (time.perf_counter() - started)
    return {
        "examples_per_s": speed,
        "examples_per_cpu_s": (done - first) / (time.process_time() - cpu),
        "epoch_32m_s": 32_000_000 / speed,
        "members": config.members,
        "factors": config.factors,
    }


def serving(ratings: int) -> Facts:
    """Measures the exported model at full size: bytes, seconds to load, milliseconds to predict."""
    import keras
    import numpy as np
    import tensorflow as tf

    from trainer.config import RatingConfig
    from trainer.rating.folded import FoldedRating, build_model

    config = RatingConfig().resolve_size(32_000_000)
    dim = min(config.export_dim, (config.members or 1) * (config.factors or 1))
    rng = np.random.default_rng(0)

    def random(*shape: int) -> Any:
        return rng.normal(0, 0.1, shape).astype(np.float32)

    folded = FoldedRating(
        user_ids=np.arange(1, USERS + 1, dtype=np.int32),
        movie_ids=np.arange(1, MOVIES + 1, dtype=np.int32),
        user_vectors=random(USERS, dim),
        movie_vectors=random(MOVIES, dim),
        user_bias=random(USERS),
        movie_bias=random(MOVIES),
    )
    with tempfile.TemporaryDirectory(prefix="recsys-bench-") as folder:
        path = Path(folder) / "model.keras"
        build_model(folded).save(path)
        size = path.stat().st_size
        started = time.perf_counter()
        model = keras.saving.load_model(path, safe_mode=True)
        load_s = time.perf_counter() - started
    asked = {
        "userId": np.full(MOVIES, 7, np.int64),
        "movieId": np.arange(1, MOVIES + 1, dtype=np.int64),
    }
    graph = tf.function(model)
    tensors = {name: tf.constant(ids) for name, ids in asked.items()}
    return {
        "dim": dim,
        "artifact_mb": size / 1e6,
        "load_s": load_s,
        "all_movies_predict_ms": _milliseconds(
            lambda: model.predict(asked, batch_size=1 << 17, verbose=0)
        ),
        "all_movies_graph_ms": _milliseconds(lambda: graph(tensors).numpy()),
        "all_movies_product_ms": _milliseconds(
            lambda: folded.movie_vectors @ folded.user_vectors[6] + folded.movie_bias
        ),
    }


def surprise(ratings: int) -> Facts:
    """Trains Surprise's SVD++ if that library is installed; installing it needs a compiler."""
    if importlib.util.find_spec("surprise") is None:
        return {"examples_per_s": None, "why": "scikit-surprise is not installed"}
    import pandas
    from surprise import Dataset, Reader, SVDpp

    user, movie, stars = _generated(100_000)
    frame = pandas.DataFrame({"user": user % 610, "movie": movie % 9_724, "stars": stars})
    data = Dataset.load_from_df(frame, Reader(rating_scale=(0.5, 5))).build_full_trainset()
    model = SVDpp(n_epochs=2)
    started = time.perf_counter()
    model.fit(data)
    return {"examples_per_s": 2 * len(frame) / (time.perf_counter() - started)}


def _generated(ratings: int) -> tuple[Any, Any, Any]:
    """Returns users (ascending), movies (few are popular) and stars of generated ratings."""
    import numpy as np

    rng = np.random.default_rng(0)
    user = np.sort(rng.integers(0, USERS, ratings, dtype=np.int32))
    user[:USERS] = np.arange(USERS)  # every user has a rating
    user.sort()
    movie = (MOVIES * rng.random(ratings, dtype=np.float32) ** 4).astype(np.int32)
    stars = rng.integers(1, 11, ratings).astype(np.float32) / 2
    return user, movie, stars


def _milliseconds(ask: Callable[[], object], times: int = 9) -> float:
    """Returns the median time of several calls, without the first."""
    ask()
    took = []
    for _ in range(times):
        started = time.perf_counter()
        ask()
        took.append(time.perf_counter() - started)
    return 1e3 * sorted(took)[times // 2]


ROWS: Final[dict[str, tuple[Callable[..., Facts], Facts]]] = {
    **{f"reference, batch {n}": (reference, {"batch": n}) for n in REFERENCE_BATCHES},
    "rating model": (ours, {}),
    "served model": (serving, {}),
    "Surprise SVD++": (surprise, {}),
}


def _child(name: str, ratings: int) -> None:
    function, arguments = ROWS[name]
    facts = function(ratings, **arguments)
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(json.dumps({**facts, "peak_rss_gb": int(peak[1]) / 1e6 if peak else None}))


def run(ratings: int) -> dict[str, Facts]:
    """Measures all rows in sequence."""
    python = os.environ.get("RECSYS_TRAINER_PYTHON") or ROOT / "trainer/.venv/bin/python"
    found = {}
    for name in ROWS:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        done = subprocess.run(
            [python, "-m", __spec__.name, "--child", name, "--ratings", str(ratings)],
            cwd=ROOT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        )
        found[name] = json.loads(done.stdout.splitlines()[-1])
    mine = found["rating model"]
    # Also by processor time, which other load on the machine distorts less.
    for figure, ratio in (
        ("examples_per_s", "times_reference"),
        ("examples_per_cpu_s", "times_reference_by_cpu"),
    ):
        mine[ratio] = mine[figure] / max(
            found[f"reference, batch {n}"][figure] for n in REFERENCE_BATCHES
        )
    return found


def table(found: dict[str, Facts]) -> str:
    """Returns all figures, one per line."""
    lines = [f"{'what':24} {'figure':24} {'value':>12}"]
    for name, facts in found.items():
        for figure, value in facts.items():
            text = f"{value:,.2f}" if isinstance(value, float) else str(value)
            lines.append(f"{name:24} {figure:24} {text:>12}")
    return "\n".join(lines)


def main() -> None:
    """Prints the table and, if a file is given, writes the figures to it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--ratings", type=int, default=RATINGS)
    parser.add_argument("--child", choices=list(ROWS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(options.child, options.ratings)
        return
    found = run(options.ratings)
    print(table(found))
    if options.file:
        options.file.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
