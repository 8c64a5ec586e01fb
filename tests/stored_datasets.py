"""Small datasets in the store, as `fetch_dataset` stores them, and what is made of them."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping

import polars as pl

from recsys import contract
from recsys.contract import FeatureSettings, RuleShares
from recsys.object_store import ObjectStore

MOVIES = b"movieId,title,genres\n1,Toy Story (1995),Comedy\n2,Heat (1995),Action|Crime\n"
HEADER = b"userId,movieId,rating,timestamp\n"
ROWS = b"".join(
    f"{user},{movie},4.0,{user + movie}\n".encode() for user in range(1, 51) for movie in (1, 2)
)
ALL_TOLERATED = RuleShares(**dict.fromkeys(RuleShares.model_fields, 1.0))
TOLERANT = FeatureSettings(max_quarantine_share=0.5, max_rule_shares=ALL_TOLERATED)
OVERALL = FeatureSettings(max_rule_shares=ALL_TOLERATED)


def put(store: ObjectStore, ratings: bytes, movies: bytes = MOVIES) -> str:
    """Stores a dataset as `fetch_dataset` does; returns its md5."""
    return put_files(store, {"ml/ratings.csv": ratings, "ml/movies.csv": movies})


def put_files(store: ObjectStore, files: Mapping[str, bytes]) -> str:
    """Stores a dataset of these files, by their paths in the zip; returns its md5."""
    out = io.BytesIO()
    # ZipInfo without a date, so that the same content has the same md5.
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path), content)
    zipped = out.getvalue()
    md5 = hashlib.new("md5", zipped, usedforsecurity=False).hexdigest()
    store.put_bytes(
        contract.dataset_key(md5, contract.DATASET_FILE),
        zipped,
        {"md5": md5, "sha256": hashlib.sha256(zipped).hexdigest()},
    )
    return md5


def prefix(md5: str) -> str:
    return FeatureSettings().prefix(md5)


def table(store: ObjectStore, md5: str, name: str) -> pl.DataFrame:
    return pl.read_parquet(store.get_bytes(contract.features_key(prefix(md5), name)))
