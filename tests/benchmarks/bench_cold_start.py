"""Compares ways to recommend to someone who rates a few movies, on users hidden from training.

``python -m tests.benchmarks.bench_cold_start [FILE.json] [FOLDER]`` prints a table for two groups
of 150 users of ml-latest-small and writes them as JSON. The users of a group are removed before
vectors and towers are made. Each of them gives four liked movies (4 stars or more) and a disliked
one (2.5 or less), chosen at random; a hit is a movie among the twelve recommended ones that the
user gave 4 stars or more besides. The first group chose the settings, the second confirms them.

Training the towers takes minutes; FOLDER keeps them for the next time. It is the base of the
decision docs/adr/0028-cold-start-by-taste.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.recommend import MIN_COSINE
from recsys.recommend.cold_start import POPULARITY_EXPONENT
from recsys.recommend.reasons import choose_reasons, share_genre
from recsys.vectors.movie_vectors import compute_movie_vectors
from tests.benchmarks.bench_vector_quality import read
from tests.real_dataset import real_dataset

USERS: Final = 150
PAGE: Final = 12
LIKED: Final = 4.0
DISLIKED: Final = 2.5
GHIBLI: Final = (5618, 3000, 5971)
"""Three movies of Hayao Miyazaki: Spirited Away, Princess Mononoke, My Neighbor Totoro."""
_LEAST_LIKED: Final = 14
_REPOSITORY: Final = Path(__file__).resolve().parents[2]

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
Score = Callable[[Places, Floats], Floats]
"""Maps places and stars of the rated movies to the scores of all movies."""


@dataclass(frozen=True)
class Case:
    """One hidden user: places and stars of the given ratings, places of the liked and disliked."""

    given: Places
    stars: Floats
    liked: frozenset[int]
    disliked: frozenset[int]


class Group:
    """Hidden users, and everything that is made without them."""

    def __init__(self, ratings: pl.DataFrame, movies: pl.DataFrame, hidden: list[int]) -> None:
        self.train = ratings.filter(~pl.col("userId").is_in(hidden)).sort("timestamp")
        self.movies = movies
        made = compute_movie_vectors(self.train, movies, dim=128)
        self.ids = made.ids
        self.cosines = (made.vectors @ made.vectors.T).astype(np.float64)
        counts = dict(self.train.group_by("movieId").len().iter_rows())
        self.counts = np.array([counts[int(movie)] for movie in made.ids], np.float64)
        self.places = {int(movie): place for place, movie in enumerate(made.ids)}
        kinds = dict(movies.select("movieId", "genres").iter_rows())
        self.genres = [frozenset(kinds[int(movie)]) for movie in made.ids]
        rng = np.random.default_rng(1)
        own = ratings.filter(pl.col("userId").is_in(hidden)).sort("userId", "timestamp")
        self.cases = [
            self._case(rows, rng) for _, rows in own.group_by("userId", maintain_order=True)
        ]

    def _case(self, rows: pl.DataFrame, rng: np.random.Generator) -> Case:
        known = rows.filter(pl.col("movieId").is_in(list(self.places)))
        places = np.array([self.places[movie] for movie in known["movieId"]])
        stars = known["rating"].to_numpy().astype(np.float64)
        good, bad = np.flatnonzero(stars >= LIKED), np.flatnonzero(stars <= DISLIKED)
        given = np.sort(np.append(rng.choice(good, 4, replace=False), rng.choice(bad, 1)))
        return Case(
            places[given],
            stars[given],
            frozenset(places[np.setdiff1d(good, given)].tolist()),
            frozenset(places[np.setdiff1d(bad, given)].tolist()),
        )

    def methods(self, towers: tuple[Floats, Floats] | None) -> Iterator[tuple[str, Score]]:
        """Yields name and scores of each method."""

        def cosine(given: Places, stars: Floats) -> Floats:
            """Cosine to the weighted sum of the vectors of the rated movies."""
            weights = stars - 2.5
            length = np.sqrt(weights @ self.cosines[np.ix_(given, given)] @ weights)
            scores: Floats = weights @ self.cosines[given] / length
            return scores

        def mean_liked(given: Places, stars: Floats) -> Floats:
            mean: Floats = self.cosines[given[stars >= LIKED]].mean(axis=0)
            return mean

        yield "most rated movies", lambda given, stars: self.counts
        if towers is not None:
            users, movies = towers
            mapped = self._learned_map(users, movies)
            mean = movies @ users.mean(axis=0)
            yield "learned map on the towers (site and command until now)", mapped
            for share in (0.5, 1.0):
                yield (
                    f"learned map + {share:g} x sum of cosines, standardized",
                    lambda g, s, share=share: (
                        _standard(mapped(g, s)) + share * _standard(cosine(g, s))
                    ),
                )
                yield (
                    f"mean user's tower + {share:g} x sum of cosines, standardized",
                    lambda g, s, share=share: _standard(mean) + share * _standard(cosine(g, s)),
                )
        yield "largest cosine to a liked movie", lambda g, s: self.cosines[g[s >= LIKED]].max(0)
        yield "plain sum of cosines to the liked movies", mean_liked
        yield "sum of cosines, weighted by stars - 2.5", cosine
        for exponent in (0.1, 0.2, 0.3, 0.5):
            yield (
                f"the same x ratings ** {exponent:g}"
                + (" (chosen)" if exponent == POPULARITY_EXPONENT else ""),
                lambda g, s, exponent=exponent: cosine(g, s) * self.counts**exponent,
            )

    def _learned_map(self, users: Floats, movies: Floats) -> Score:
        """The method of docs/adr/0011-cold-start.md: ridge regression from towers to towers."""
        newest = self.train.reverse().group_by("userId", maintain_order=True).agg("movieId")
        history = newest.sort("userId")["movieId"].to_list()
        means = np.array([movies[[self.places[m] for m in own[:30]]].mean(0) for own in history])
        given_mean, wanted_mean = means[:, :-2].mean(0), users[:, :-2].mean(0)
        given, wanted = means[:, :-2] - given_mean, users[:, :-2] - wanted_mean
        gram = given.T @ given
        penalty = 0.1 * np.trace(gram) / len(gram) * np.eye(len(gram))
        learned = np.linalg.solve(gram + penalty, given.T @ wanted)

        def score(rated: Places, stars: Floats) -> Floats:
            age = np.arange(len(stars))[::-1]
            weights = (np.exp(-age / 20) + 0.1) * (stars - 2.5)
            total = np.abs(weights).sum()
            effective = total**2 / np.square(weights).sum()
            profile = weights / total @ (movies[rated, :-2] - given_mean)
            user = wanted_mean + effective / (effective + 2) * (profile @ learned)
            scores: Floats = movies @ np.append(user, [1.0, 0.0])
            return scores

        return score

    def measure(self, score: Score) -> dict[str, Any]:
        """Measures a method on all users of the group, and on the Ghibli movies."""
        discounts = 1 / np.log2(np.arange(2, PAGE + 2))
        pages = [self._page(score, case.given, case.stars) for case in self.cases]
        hits = np.array(
            [[p in c.liked for p in page] for c, page in zip(self.cases, pages, strict=True)]
        )
        bad = [[p in c.disliked for p in page] for c, page in zip(self.cases, pages, strict=True)]
        ideal = np.cumsum(discounts)[[min(PAGE, len(c.liked)) - 1 for c in self.cases]]
        precision = hits.mean(axis=1)
        ghibli = np.array([self.places[movie] for movie in GHIBLI])
        shown = self._page(score, ghibli, np.full(len(ghibli), 5.0))
        return {
            "precision": float(precision.mean()),
            "standard_error": float(precision.std() / np.sqrt(len(precision))),
            "ndcg": float((hits @ discounts / ideal).mean()),
            "disliked": float(np.mean(bad)),
            "distinct": len(set(np.concatenate(pages).tolist())),
            "animation_of_12": sum("Animation" in self.genres[place] for place in shown),
            **self._reasons(pages),
        }

    def _page(self, score: Score, given: Places, stars: Floats) -> Places:
        scores = np.array(score(given, stars))
        scores[given] = -np.inf
        return np.argsort(-scores, kind="stable")[:PAGE]

    def _reasons(self, pages: list[Places]) -> dict[str, float]:
        near_enough, explained, distinct, repeated = [], [], [], []
        for case, page in zip(self.cases, pages, strict=True):
            liked = case.given[case.stars >= 3.5]
            near_enough.append(np.mean(self.cosines[np.ix_(page, liked)].max(1) >= MIN_COSINE))
            reasons = [
                (place, {int(own): float(self.cosines[place, own]) for own in liked
                         if self.cosines[place, own] >= MIN_COSINE
                         and share_genre(self.genres[place], self.genres[own])})
                for place in page.tolist()
            ]  # fmt: skip
            reasons = [(place, cosines) for place, cosines in reasons if cosines]
            chosen = choose_reasons(reasons)
            explained.append(len(chosen) / PAGE)
            distinct.append(len({own for own, _ in chosen.values()}))
            repeated.append(len({max(c, key=lambda own: c[own]) for _, c in reasons}))
        return {
            "near_a_liked_movie": float(np.mean(near_enough)),
            "explained": float(np.mean(explained)),
            "different_reasons": float(np.mean(distinct)),
            "different_reasons_if_always_the_nearest": float(np.mean(repeated)),
        }


def _standard(scores: Floats) -> Floats:
    standard: Floats = (scores - scores.mean()) / scores.std()
    return standard


def hidden_users(ratings: pl.DataFrame) -> list[list[int]]:
    """Returns two groups of users with enough liked movies and a disliked one."""
    counted = ratings.group_by("userId").agg(
        liked=(pl.col("rating") >= LIKED).sum(), disliked=(pl.col("rating") <= DISLIKED).sum()
    )
    enough = counted.filter((pl.col("liked") >= _LEAST_LIKED) & (pl.col("disliked") >= 1))
    order = np.random.default_rng(20).permutation(enough["userId"].sort().to_numpy())
    return [order[:USERS].tolist(), order[USERS : 2 * USERS].tolist()]


def train_towers(group: Group, folder: Path) -> tuple[Floats, Floats] | None:
    """Returns towers of the users by id and of the group's movies; None without a trainer."""
    python = _REPOSITORY / "trainer" / ".venv" / "bin" / "python"
    if not (folder / "movie_towers.npz").exists():
        if not python.exists():
            return None
        folder.mkdir(parents=True, exist_ok=True)
        group.train.write_parquet(folder / "interactions.parquet")
        group.movies.write_parquet(folder / "movies.parquet")
        command = [str(python), "-m", "tests.benchmarks.cold_start_towers", str(folder)]
        subprocess.run(command, check=True, cwd=_REPOSITORY)
    users, movies = np.load(folder / "user_towers.npz"), np.load(folder / "movie_towers.npz")
    places = np.searchsorted(movies["ids"], group.ids)
    return users["vectors"].astype(np.float64), movies["vectors"][places].astype(np.float64)


def main(out: Path | None, folder: Path) -> None:
    """Measures all methods on both groups."""
    ratings, movies = read(real_dataset(_REPOSITORY))
    tables: dict[str, dict[str, Any]] = {}
    for name, hidden in zip(("choosing", "confirming"), hidden_users(ratings), strict=True):
        group = Group(ratings, movies, hidden)
        towers = train_towers(group, folder / name)
        print(f"\n{name}: {len(group.cases)} users, {len(group.ids)} movies")
        print("| method | P@12 (s.e.) | NDCG@12 | disliked | distinct | anime | near "
              "| explained | reasons | nearest only |")  # fmt: skip
        tables[name] = {}
        for method, score in group.methods(towers):
            row = tables[name][method] = group.measure(score)
            print(
                f"| {method} | {row['precision']:.3f} ({row['standard_error']:.3f}) "
                f"| {row['ndcg']:.3f} | {row['disliked']:.3f} | {row['distinct']} "
                f"| {row['animation_of_12']} | {row['near_a_liked_movie']:.2f} "
                f"| {row['explained']:.2f} | {row['different_reasons']:.2f} "
                f"| {row['different_reasons_if_always_the_nearest']:.2f} |",
                flush=True,
            )
    if out:
        out.write_text(json.dumps(tables, indent=1))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(
            Path(sys.argv[1]) if len(sys.argv) > 1 else None,
            Path(sys.argv[2] if len(sys.argv) > 2 else temporary),
        )
