"""Prints RecTools' metrics of saved lists as JSON; runs in the environment of requirements.txt.

Usage: python measure.py FOLDER. The folder contains train.csv, holdout.csv (user_id, item_id),
lists.csv (user_id, item_id, rank) and catalog.csv (item_id).
"""

import json
import sys
from pathlib import Path

import pandas as pd
from rectools.metrics import (
    MRR,
    NDCG,
    AvgRecPopularity,
    CatalogCoverage,
    MeanInvUserFreq,
    Recall,
    calc_metrics,
)

folder = Path(sys.argv[1])
train, holdout, lists, catalog = (
    pd.read_csv(folder / f"{name}.csv") for name in ("train", "holdout", "lists", "catalog")
)
found = calc_metrics(
    {
        "ndcg@10": NDCG(k=10, divide_by_achievable=True),
        "recall@10": Recall(k=10),
        "recall@20": Recall(k=20),
        "mrr": MRR(k=100),
        "coverage": CatalogCoverage(k=10, normalize=True),
        "novelty": MeanInvUserFreq(k=10),
        "average popularity": AvgRecPopularity(k=10),
    },
    reco=lists,
    interactions=holdout,
    prev_interactions=train,
    catalog=catalog["item_id"],
)
# RecTools counts raters; here it is their share of training's users.
found["popularity_bias"] = found.pop("average popularity") / train["user_id"].nunique()
print(json.dumps(found))
