"""Compares orders of the retrieved movies: by the towers' score, predicted stars, or a blend.

Run with the trainer's interpreter on the features of a split and a training without refit:

    recsys validate ml-latest-small.zip --out FEATURES
    trainer/.venv/bin/python -m trainer local --features FEATURES --out RELEASE --no-refit
    trainer/.venv/bin/python -m tests.benchmarks.bench_two_stage FEATURES RELEASE [FILE.json]

Retrieval gives each user of the holdout the best 100 movies not rated in training; only their
order changes. docs/adr/0007-the-ranking-towers.md shows the table.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import polars as pl

from recsys.contract import EVALUATED_MODEL_FILE, HOLDOUT_RECOMMENDATIONS_FILE, INTERACTIONS_FILE
from recsys.evaluation.metrics import mean_quality, quality_by_user

BLENDS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)


def main(features: Path, release: Path) -> list[dict[str, Any]]:
    """Measures each blend: 0 orders by the towers' score alone, 1 by predicted stars alone."""
    holdout = pl.read_parquet(features / INTERACTIONS_FILE).filter(pl.col("split") == "holdout")
    retrieved = pl.read_parquet(release / HOLDOUT_RECOMMENDATIONS_FILE)
    model = keras.saving.load_model(release / EVALUATED_MODEL_FILE, safe_mode=True)
    ids = {c: retrieved[c].to_numpy().astype(np.int64) for c in ("userId", "movieId")}
    stars = np.asarray(model.predict(ids, batch_size=8192, verbose=0)).ravel()
    scored = retrieved.with_columns(stars=pl.Series(stars)).with_columns(
        # Standardized by user, so that a blend means the same for all users.
        (pl.col(c) - pl.col(c).mean().over("userId")) / (pl.col(c).std().over("userId") + 1e-9)
        for c in ("score", "stars")
    )
    rows = []
    for blend in BLENDS:
        ordered = scored.with_columns(
            rank=((1 - blend) * pl.col("score") + blend * pl.col("stars"))
            .rank("ordinal", descending=True)
            .over("userId")
        )
        rows.append({"blend": blend, **_quality(holdout, ordered)})
    return rows


def _quality(holdout: pl.DataFrame, ordered: pl.DataFrame) -> dict[str, float]:
    users = holdout["userId"].unique().sort()
    rank = (
        holdout.join(ordered, on=["userId", "movieId"], how="left", maintain_order="left")["rank"]
        .cast(pl.Float64)
        .fill_null(np.inf)
    )
    user = np.searchsorted(users.to_numpy(), holdout["userId"].to_numpy()).astype(np.int64)
    means = mean_quality(quality_by_user(user, rank.to_numpy(), len(users)))
    return {name: value for name, value in means.items() if value is not None}


if __name__ == "__main__":
    found = main(Path(sys.argv[1]), Path(sys.argv[2]))
    print("blend        NDCG@10     R@10     R@20      MRR")
    for row in found:
        print(
            f"{row['blend']:>11.2f}  {row['ndcg@10']:.4f}   {row['recall@10']:.4f}   "
            f"{row['recall@20']:.4f}   {row['mrr']:.4f}"
        )
    if len(sys.argv) > 3:
        Path(sys.argv[3]).write_text(json.dumps(found, indent=2))
