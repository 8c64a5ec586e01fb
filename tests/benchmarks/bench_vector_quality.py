"""Compares movie similarities: which one retrieves movies that users liked later?

``python -m tests.benchmarks.bench_vector_quality [ML_LATEST_SMALL.zip] [FILE.json]`` prints a table
for each dataset and writes the tables as JSON. All similarities are measured on the real dataset, a
few also on its halves by users and by time and on a generated one. Hits, franchises and series of
the chosen vectors are means of three seeds with their standard errors. It is the base of the
decision docs/adr/0004-movie-vectors.md. Without a path, the dataset is that of the tests.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

from recsys.dataset import write_sample
from recsys.vectors import movie_vectors
from recsys.vectors.kinds import with_kinds
from recsys.vectors.quality import NEIGHBORS, measure_families
from recsys.vectors.retrieval import RetrievalTask, raw_stars
from recsys.vectors.svd import FeedbackMatrix, leading_axes
from tests.neighbor_hit_rate import hide_last_liked, neighbor_hit_rate
from tests.real_dataset import real_dataset

DIM: Final = 128
ALS_DIM: Final = 64
SHRINKAGE: Final = 20
SEEDS: Final = (20, 21, 22)
BUCKETS: Final = (1, 10, 50)
_AGREEMENT: Final = 10
_SAMPLE_RATINGS: Final = 100_000

Matrix = NDArray[np.float32]
Similarity = Callable[[pl.DataFrame, pl.DataFrame, NDArray[np.int32]], Matrix]
"""Maps training part, movies and ids to similarities of all pairs, float32 (movies, movies)."""


def stars(train: pl.DataFrame, ids: NDArray[np.int32]) -> sp.csr_matrix:
    """The stars, float32 (users, movies)."""
    _, user = np.unique(train["userId"].to_numpy(), return_inverse=True)
    movie = np.searchsorted(ids, train["movieId"].to_numpy())
    values = train["rating"].to_numpy().astype(np.float32)
    return sp.csr_matrix((values, (user, movie)), shape=(user.max() + 1, len(ids)))


def log_weights(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """log(1 + stars)."""
    made = matrix.copy()
    made.data = np.log1p(made.data)
    return made


def idf_weights(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """1 for each rating, times the inverse frequencies of user and movie."""
    made = matrix.copy()
    by_user, by_movie = np.diff(made.indptr), np.bincount(made.indices, minlength=made.shape[1])
    user = np.log((made.shape[1] + 1) / by_user)
    movie = np.log((made.shape[0] + 1) / by_movie)
    made.data = (np.repeat(user, by_user) * movie[made.indices]).astype(np.float32)
    return made


def bm25_weights(matrix: sp.csr_matrix, k1: float = 100.0, b: float = 0.8) -> sp.csr_matrix:
    """Okapi BM25 with users as documents, as in the library `implicit`."""
    made = matrix.copy()
    lengths = np.asarray(made.sum(axis=1)).ravel()
    norms = np.repeat((1 - b) + b * lengths / lengths.mean(), np.diff(made.indptr))
    movie = np.log(made.shape[0]) - np.log1p(np.bincount(made.indices, minlength=made.shape[1]))
    made.data = made.data * (k1 + 1) / (k1 * norms + made.data) * movie[made.indices]
    made.data = made.data.astype(np.float32)
    return made


def centered(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Stars minus the user's mean."""
    made = matrix.copy()
    counts = np.diff(made.indptr)
    means = np.asarray(made.sum(axis=1)).ravel() / counts
    made.data = (made.data - np.repeat(means, counts) + 1e-6).astype(np.float32)
    return made


def cosines(rows: Any) -> Matrix:
    """Cosines of all pairs of rows, dense float32."""
    if isinstance(rows, sp.csr_matrix):
        lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
        scale = 1 / np.maximum(lengths, 1e-12).astype(np.float32)
        unit = sp.csr_matrix(sp.diags_array(scale) @ rows)
        return np.asarray((unit @ unit.T).toarray(), np.float32)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return np.asarray(rows @ rows.T, np.float32)


def exact(weigh: Callable[[sp.csr_matrix], sp.csr_matrix]) -> Similarity:
    """Exact cosine of the weighted columns."""
    return lambda train, _, ids: cosines(weigh(stars(train, ids)).T.tocsr())


def svd(weigh: Callable[[sp.csr_matrix], sp.csr_matrix], exponent: float = 1.0) -> Similarity:
    """Truncated SVD of the weighted matrix; axes times their singular values ** exponent."""

    def similarity(train: pl.DataFrame, _: pl.DataFrame, ids: NDArray[np.int32]) -> Matrix:
        matrix = weigh(stars(train, ids))
        rank = min(DIM, min(matrix.shape) - 1)
        found: tuple[Any, ...] = svds(matrix, rank, rng=np.random.default_rng(0))
        singular, axes = found[1:]
        return cosines((axes.T * singular**exponent).astype(np.float32))

    return similarity


def shrunk(train: pl.DataFrame, _: pl.DataFrame, ids: NDArray[np.int32]) -> Matrix:
    """Cosine of implicit feedback, times n / (n + 20) for n common users (Bell and Koren, 2007)."""
    matrix = stars(train, ids)
    matrix.data[:] = 1
    common = (matrix.T @ matrix).toarray()
    counts = np.diag(common).copy()
    made = common / np.sqrt(np.outer(counts, counts)) * (common / (common + SHRINKAGE))
    return np.asarray(made, np.float32)


def neighbor_axes(train: pl.DataFrame, movies: pl.DataFrame, ids: NDArray[np.int32]) -> Matrix:
    """The matrix of exact neighbors (`shrunk`), projected on its leading axes."""
    graph = shrunk(train, movies, ids)
    _, values, axes = svds(graph, min(DIM, len(graph) - 1), rng=np.random.default_rng(0))
    return cosines((axes.T * np.sqrt(values)).astype(np.float32))


def random_projection(train: pl.DataFrame, _: pl.DataFrame, ids: NDArray[np.int32]) -> Matrix:
    """The weighted columns, projected at random (Johnson and Lindenstrauss)."""
    matrix = idf_weights(stars(train, ids))
    lines = np.random.default_rng(0).standard_normal((matrix.shape[0], DIM), np.float32)
    return cosines(np.asarray(matrix.T @ lines))


def als(train: pl.DataFrame, _: pl.DataFrame, ids: NDArray[np.int32]) -> Matrix:
    """Implicit ALS (Hu, Koren and Volinsky, ICDM 2008): alpha 10, lambda 10, 8 rounds."""
    matrix = stars(train, ids)
    matrix.data[:] = 10
    sides = (matrix, matrix.T.tocsr())
    rng = np.random.default_rng(0)
    factors = [rng.normal(scale=0.1, size=(n, ALS_DIM)).astype(np.float32) for n in matrix.shape]
    for _round in range(8):
        for side, known in enumerate(sides):
            other = factors[1 - side]
            base = other.T @ other + 10 * np.eye(ALS_DIM, dtype=np.float32)
            for row in range(known.shape[0]):
                at = slice(known.indptr[row], known.indptr[row + 1])
                near, weight = other[known.indices[at]], known.data[at]
                left = base + (near.T * weight) @ near
                factors[side][row] = np.linalg.solve(left, near.T @ (1 + weight))
    return cosines(factors[1])


def ours(content: float = 10.0, exponent: float = 0.5) -> Similarity:
    """`compute_movie_vectors` with other weights, without titles."""

    def similarity(train: pl.DataFrame, movies: pl.DataFrame, ids: NDArray[np.int32]) -> Matrix:
        feedback = FeedbackMatrix.from_interactions(with_kinds(train.lazy()))
        weighted = movie_vectors.weigh(
            feedback, feedback.count_periods(), content * movie_vectors.content_rows(movies, ids)
        )
        axes, singular = leading_axes(weighted, DIM, seed=movie_vectors.SEED, rounds=3)
        made = movie_vectors.unit_rows(axes * singular**exponent, DIM)
        return made @ made.T

    return similarity


def chosen(train: pl.DataFrame, movies: pl.DataFrame, _: NDArray[np.int32]) -> Matrix:
    """The product's own movie vectors."""
    made = movie_vectors.compute_movie_vectors(train, movies, dim=DIM).vectors
    return made @ made.T


def popularity(train: pl.DataFrame, _: pl.DataFrame, ids: NDArray[np.int32]) -> Matrix:
    """Scores every movie by its popularity."""
    counts = np.bincount(np.searchsorted(ids, train["movieId"].to_numpy()), minlength=len(ids))
    return np.broadcast_to(counts.astype(np.float32), (len(ids), len(ids)))


KINDS: Final[dict[str, Similarity]] = {
    "popularity": popularity,
    "exact cosine, raw stars": exact(lambda m: m),
    "exact cosine, log stars": exact(log_weights),
    "exact cosine, IDF": exact(idf_weights),
    "exact cosine, BM25": exact(bm25_weights),
    "exact cosine, mean-centered": exact(centered),
    "co-occurrence, shrunk": shrunk,
    "axes of shrunk neighbors": neighbor_axes,
    "random projection, IDF": random_projection,
    "SVD, raw stars": svd(lambda m: m),
    "SVD, log stars": svd(log_weights),
    "SVD, IDF": svd(idf_weights),
    "SVD, IDF, root of values": svd(idf_weights, 0.5),
    "SVD, BM25": svd(bm25_weights),
    "SVD, BM25, root of values": svd(bm25_weights, 0.5),
    "SVD, mean-centered": svd(centered),
    f"implicit ALS, d = {ALS_DIM}": als,
    "without titles and content": ours(content=0.0),
    "without titles, content x 3": ours(content=3.0),
    "without titles": ours(),
    "without titles, content x 30": ours(content=30.0),
    "without titles, values": ours(exponent=1.0),
    "chosen": chosen,
}
REFERENCES: Final = ("popularity", "exact cosine, raw stars", "exact cosine, IDF", "chosen")
"""Measured on every dataset; the others only on the first."""


def measure(name: str, train: pl.DataFrame, hidden: pl.DataFrame, movies: pl.DataFrame) -> Any:
    """Measures one row of the table."""
    ids = train["movieId"].unique().sort().to_numpy()
    start = time.perf_counter()
    similarity = KINDS[name](train, movies, ids)
    seconds = time.perf_counter() - start
    task = RetrievalTask.from_frames(hidden, train, ids)
    ranks = task.ranks(lambda liked: np.asarray(liked @ similarity))
    counts = np.append(np.diff(raw_stars(train, ids).tocsc().indptr), 0)[task.places]
    hits = ranks <= NEIGHBORS
    row = {
        "kind": name,
        "hit_rate": float(hits.mean()),
        "ndcg": float(np.where(hits, 1 / np.log2(1 + ranks), 0).mean()),
        "agreement": agreement(similarity, cosines(stars(train, ids).T.tocsr())),
        "seconds": seconds,
    }
    for least, end in zip(BUCKETS, (*BUCKETS[1:], np.inf), strict=True):
        inside = (counts >= least) & (counts < end)
        row[f"hit_rate_{least}+"] = float(hits[inside].mean())
        row[f"hidden_{least}+"] = int(inside.sum())
    return row


def agreement(made: Matrix, raw: Matrix) -> float:
    """Mean over 500 movies: share of the 10 nearest that are as near by raw cosine as its 10."""
    columns = np.random.default_rng(0).permutation(len(raw))[:500]
    found, best = np.array(made[columns]), raw[columns].copy()
    rows = np.arange(len(columns))
    found[rows, columns] = best[rows, columns] = -np.inf
    nearest = np.argpartition(-found, _AGREEMENT - 1, axis=1)[:, :_AGREEMENT]
    limit = -np.partition(-best, _AGREEMENT - 1, axis=1)[:, _AGREEMENT - 1 :][:, :1]
    return float((best[rows[:, None], nearest] >= limit - 1e-6).mean())


def measure_seeds(
    interactions: pl.DataFrame, train: pl.DataFrame, hidden: pl.DataFrame, movies: pl.DataFrame
) -> dict[str, list[float]]:
    """Measures the chosen vectors for each seed; families on vectors of all ratings."""
    counts = interactions.group_by("movieId").len()
    found: dict[str, list[float]] = {"hit_rate": []}
    for seed in SEEDS:
        made = movie_vectors.compute_movie_vectors(train, movies, dim=DIM, seed=seed)
        found["hit_rate"].append(neighbor_hit_rate(made, train, hidden))
        served = movie_vectors.compute_movie_vectors(interactions, movies, dim=DIM, seed=seed)
        for name, family in zip(
            ("franchises", "series"), measure_families(served, movies, counts), strict=True
        ):
            if family is not None:
                found.setdefault(name, []).append(family.recall)
    return found


def print_seeds(found: dict[str, list[float]]) -> None:
    """Prints the mean and its standard error over the seeds."""
    for name in ("hit_rate", "franchises", "series"):
        if name not in found:
            print(f"{name:28} not measured: the dataset lacks these titles")
            continue
        error = np.std(found[name], ddof=1) / len(SEEDS) ** 0.5
        print(f"{name:28} {np.mean(found[name]):.3f} +- {error:.3f} ({len(SEEDS)} seeds)")


def read(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Ratings and movies of a MovieLens zip."""
    with zipfile.ZipFile(path) as archive:
        files = {Path(n).name: n for n in archive.namelist()}
        ratings = pl.read_csv(io.BytesIO(archive.read(files["ratings.csv"])))
        movies = pl.read_csv(io.BytesIO(archive.read(files["movies.csv"])))
    return ratings.with_columns(
        pl.col("userId", "movieId").cast(pl.Int32), pl.col("rating").cast(pl.Float32)
    ), movies.select(
        pl.col("movieId").cast(pl.Int32),
        "title",
        year=pl.col("title").str.extract(r"\((\d{4})\)\s*$").cast(pl.Int16),
        genres=pl.col("genres").str.split("|"),
    )


def datasets(path: Path) -> Iterator[tuple[str, pl.DataFrame, pl.DataFrame]]:
    """Name, interactions and movies of each dataset."""
    ratings, movies = read(path)
    middle = ratings["timestamp"].median()
    yield "ml-latest-small", ratings, movies
    yield "users of even id", ratings.filter(pl.col("userId") % 2 == 0), movies
    yield "users of odd id", ratings.filter(pl.col("userId") % 2 == 1), movies
    yield "the earlier half", ratings.filter(pl.col("timestamp") < middle), movies
    yield "the later half", ratings.filter(pl.col("timestamp") >= middle), movies
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.zip"
        write_sample(path, ratings=_SAMPLE_RATINGS, seed=1)
        yield "generated, 100 K", *read(path)


def main(arguments: list[str]) -> None:
    """Prints the tables and writes them as JSON."""
    zips = [Path(argument) for argument in arguments if argument.endswith(".zip")]
    path = zips[0] if zips else real_dataset(Path(__file__).resolve().parents[2])
    tables: dict[str, dict[str, Any]] = {}
    for dataset, interactions, movies in datasets(path):
        train, hidden = hide_last_liked(interactions)
        print(f"\n{dataset}: {train.height:,} ratings, {hidden.height} hidden")
        print(f"{'kind':28} hit@50  NDCG@50  agree@10  1-9    10-49  50+       s")
        rows = []
        for kind in REFERENCES if tables else KINDS:
            row = measure(kind, train, hidden, movies)
            rows.append(row)
            rates = "  ".join(f"{row[f'hit_rate_{least}+']:.3f}" for least in BUCKETS)
            print(
                f"{kind:28} {row['hit_rate']:.3f}   {row['ndcg']:.3f}    {row['agreement']:.3f} "
                f"    {rates}  {row['seconds']:5.1f}",
                flush=True,
            )
        seeds = measure_seeds(interactions, train, hidden, movies)
        print_seeds(seeds)
        tables[dataset] = {"kinds": rows, "seeds": seeds}
    for argument in arguments:
        if argument.endswith(".json"):
            Path(argument).write_text(json.dumps(tables, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
