"""Recorded features of two small datasets, to detect that the code makes other features of them.

``python -m tests.golden_features`` records them again. It refuses while `FEATURES_REVISION` is the
recorded one, because features in the store are only made again when the revision changes.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from recsys import contract
from recsys.contract import FEATURES_REVISION, FeatureSettings, RuleShares
from recsys.dataset import MOVIES_CSV, RATINGS_CSV, open_dataset, write_sample
from recsys.features import make_features
from recsys.vectors.movie_vectors import compute_movie_vectors, read_movies

RECORD: Final = Path(__file__).with_name("golden_features.json")
COSINE_TOLERANCE: Final = 1e-4
"""OpenBLAS's kernels (Prescott to Zen) move a cosine by up to 1e-5, half of that by rounding."""
_COMPARED_MOVIES: Final = 30
_SETTINGS: Final = FeatureSettings(
    max_quarantine_share=1.0,
    max_rule_shares=RuleShares(**dict.fromkeys(RuleShares.model_fields, 1.0)),
)
_TABLES: Final = (contract.INTERACTIONS_FILE, contract.MOVIES_FILE, contract.QUARANTINE_FILE)

_GENRES: Final = ("Drama", "Comedy|Romance", "Action|Sci-Fi", "(no genres listed)", "Film-Noir")
# Rows that violate each rule, quoted titles, titles with and without a year.
_MOVIES: Final = (
    '1,"Matrix, The (1999)",Action|Sci-Fi\n'
    '2,"""Great Performances"" Cats (1998)",Musical\n'
    "3,Babylon 5,(no genres listed)\n"
    "9,Misérables\u2014Les (1995\u20131997),Drama|War\n"
    "4,Seven (1995),Crime\n"
    "4,Heat (1995),Action|Crime\n"
    "x,Lost,Drama\n"
    "0,Zero (2000),Drama\n"
    "5,,Drama\n"
    '6,"Unclosed (2001),Drama\n'
    "7,Café (1931),Comedy|Comedy\n"
    f"8,{'long ' * 101},Drama\n"
)
_RATINGS: Final = (
    "1,1,4.0,100\n"
    "1,1,2.5,90\n"
    "1,2,5.0,100\n"
    '"1","3","0.5","101"\n'
    "1,4,3.5,99\n"
    "2,1,3.0,7\n"
    "2,1,4.5,7\n"
    "2,7,.5,8\n"
    "3,1,5,4102444799\n"
    "3,2,5.5,10\n"
    "3,2,3.3,10\n"
    "3,9999,3.0,10\n"
    "0,1,3.0,10\n"
    "3,2147483648,3.0,10\n"
    "3,2,3.0,-1\n"
    "3,2,three,10\n"
    "3,2,3.0\n"
    "\n"
)


def compute() -> dict[str, Any]:
    """Returns digests of the tables, and cosines of movie vectors, by name of the dataset."""
    with tempfile.TemporaryDirectory() as folder:
        generated, edges = Path(folder, "generated.zip"), Path(folder, "edges.zip")
        write_sample(generated, ratings=6_000, users=300, movies=260, seed=20)
        _write_edges(edges)
        return {path.stem: _features(path) for path in (generated, edges)}


def read_record() -> dict[str, Any]:
    """Reads the record: ``revision`` and ``datasets``."""
    record: dict[str, Any] = json.loads(RECORD.read_text())
    return record


def differences(recorded: dict[str, Any], computed: dict[str, Any]) -> list[str]:
    """Lists changed parts of the features, for datasets whose input is as recorded."""
    found = []
    for name, now in computed.items():
        then = recorded[name]
        if now["input"] != then["input"]:
            continue
        found += [
            f"{part} of {name}"
            for part, digest in now["digests"].items()
            if digest != then["digests"][part]
        ]
        cosines, before = np.array(now["cosines"]), np.array(then["cosines"])
        if cosines.shape != before.shape:
            found.append(f"number of movie vectors of {name}")
        elif (largest := np.abs(cosines - before).max()) > COSINE_TOLERANCE:
            found.append(f"cosines of movie vectors of {name}, by up to {largest:.4f}")
    return found


def other_inputs(recorded: dict[str, Any], computed: dict[str, Any]) -> list[str]:
    """Lists datasets whose input is not as recorded."""
    return [name for name, now in computed.items() if now["input"] != recorded[name]["input"]]


def main() -> int:
    """Records the present features."""
    computed = compute()
    if RECORD.exists():
        record = read_record()
        changed = differences(record["datasets"], computed)
        if changed and record["revision"] == FEATURES_REVISION:
            print(f"not recorded, raise FEATURES_REVISION first; changed: {'; '.join(changed)}")
            return 1
    record = {"revision": FEATURES_REVISION, "datasets": computed}
    RECORD.write_text(json.dumps(record) + "\n")
    return 0


def _features(path: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with open_dataset(path) as archive:
            texts = [b"".join(archive.chunks(file)) for file in (RATINGS_CSV, MOVIES_CSV)]
            make_features(archive, "0" * 32, _SETTINGS, folder)
        made = compute_movie_vectors(
            pl.scan_parquet(folder / contract.INTERACTIONS_FILE),
            read_movies(folder / contract.MOVIES_FILE),
            dim=_SETTINGS.vector_dim,
        )
        digests = {table: _digest(pl.read_parquet(folder / table)) for table in _TABLES}
    digests["ids of movie vectors"] = hashlib.sha256(str(made.ids.tolist()).encode()).hexdigest()
    # BLAS may flip the sign of an axis, so cosines are compared, not vectors.
    places = np.linspace(0, len(made.ids) - 1, _COMPARED_MOVIES).round().astype(int)
    chosen = made.vectors[np.unique(places)].astype(np.float64)
    upper = np.triu_indices(len(chosen), 1)
    return {
        "input": hashlib.sha256(b"".join(texts)).hexdigest(),
        "digests": digests,
        "cosines": (chosen @ chosen.T)[upper].round(5).tolist(),
    }


def _digest(table: pl.DataFrame) -> str:
    """Returns the sha256 of a table's column names and values."""
    return hashlib.sha256(json.dumps([table.columns, table.rows()]).encode()).hexdigest()


def _write_edges(path: Path) -> None:
    """Writes a dataset with invalid, quoted and duplicate rows among plain ones."""
    movies = "".join(
        f"{i},Movie {i} ({1920 + i % 110}),{_GENRES[i % len(_GENRES)]}\n" for i in range(10, 60)
    )
    ratings = "".join(
        f"{user},{10 + (user * 7 + n * n) % 50},{(user + n) % 10 / 2 + 0.5},{1_000_000 + n // 3}\n"
        for user in range(10, 60)
        for n in range(user % 23 + 1)
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"ml/{MOVIES_CSV}", f"movieId,title,genres\n{_MOVIES}{movies}")
        head = b"userId,movieId,rating,timestamp\n" + b"3,1,\xff,10\n"
        archive.writestr(f"ml/{RATINGS_CSV}", head + f"{_RATINGS}{ratings}".encode())


if __name__ == "__main__":
    sys.exit(main())
