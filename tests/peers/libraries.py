"""Recommenders of published libraries: ``python -m tests.peers.libraries NAME FOLDER``.

Runs in the environment of ``tests/peers/requirements.txt``. Settings are the libraries' own, unless
a comment says why not.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.peers.answers import DEPTH, Histories, Indices, Split, Stars, best_unrated, print_answer

FACTORS: Final = 64


class Popularity:
    """Recommends the movies with the most ratings."""

    def fit(self, split: Split) -> None:
        self._split, self._histories = split, Histories(split)
        self._count = np.bincount(split.movie, minlength=len(split.movie_ids)).astype(float)

    def save(self, path: Path) -> None:
        np.save(path.with_suffix(".npy"), self._count)
        path.with_suffix(".npy").rename(path)

    def predict(self, split: Split) -> Stars | None:
        return None

    def recommend(self, user: int) -> Indices:
        best = best_unrated(self._count.copy(), self._histories.of(user))
        return self._split.movie_ids[best]


class Implicit:
    """A model of the library implicit, of which a rating is a visit, whatever its stars.

    Args:
        kind: ``als`` or ``bpr``.
    """

    def __init__(self, kind: str) -> None:
        from implicit.als import AlternatingLeastSquares
        from implicit.bpr import BayesianPersonalizedRanking

        made = {"als": AlternatingLeastSquares, "bpr": BayesianPersonalizedRanking}[kind]
        self._model = made(factors=FACTORS, random_state=0, num_threads=os.cpu_count() or 1)

    def fit(self, split: Split) -> None:
        from scipy.sparse import csr_matrix

        ones = np.ones(len(split.user), np.float32)
        shape = (len(split.user_ids), len(split.movie_ids))
        self._split = split
        self._visits = csr_matrix((ones, (split.user, split.movie)), shape)
        self._model.fit(self._visits, show_progress=False)

    def save(self, path: Path) -> None:
        self._model.save(str(path.with_suffix(".npz")))
        path.with_suffix(".npz").rename(path)

    def predict(self, split: Split) -> Stars | None:
        return None

    def recommend(self, user: int) -> Indices:
        movies, scores = self._model.recommend(user, self._visits[user], N=DEPTH)
        made: Indices = self._split.movie_ids[movies[np.isfinite(scores)]]
        return made


class LensKit:
    """An algorithm of LensKit, with its bias model for pairs that it cannot score.

    Args:
        kind: ``biased-mf``, ``item-knn`` (of stars) or ``item-knn-implicit``.
    """

    def __init__(self, kind: str) -> None:
        from lenskit.algorithms import Recommender
        from lenskit.algorithms.als import BiasedMF
        from lenskit.algorithms.basic import Fallback
        from lenskit.algorithms.bias import Bias
        from lenskit.algorithms.item_knn import ItemItem

        self._stars = kind != "item-knn-implicit"
        algorithm = {
            "biased-mf": lambda: BiasedMF(50, rng_spec=0),
            # The library's example and its evaluations use 20 neighbors.
            "item-knn": lambda: ItemItem(20),
            "item-knn-implicit": lambda: ItemItem(20, feedback="implicit"),
        }[kind]()
        predictor = Fallback(algorithm, Bias(damping=5)) if self._stars else algorithm
        self._model: Any = Recommender.adapt(predictor)

    def fit(self, split: Split) -> None:
        import pandas as pd

        columns = {"user": split.user_ids[split.user], "item": split.movie_ids[split.movie]}
        if self._stars:
            columns["rating"] = split.stars
        self._user_ids = split.user_ids
        self._model.fit(pd.DataFrame(columns))

    def save(self, path: Path) -> None:
        path.write_bytes(pickle.dumps(self._model, protocol=5))

    def predict(self, split: Split) -> Stars | None:
        if not self._stars:
            return None
        made = np.full(len(split.asked_user), np.nan)
        order = np.argsort(split.asked_user, kind="stable")
        users, first = np.unique(split.asked_user[order], return_index=True)
        for user, rows in zip(users, np.split(order, first[1:]), strict=True):
            found = self._model.predict_for_user(user, split.asked_movie[rows])
            made[rows] = found.reindex(split.asked_movie[rows]).to_numpy()
        return np.clip(made, 0.5, 5.0)

    def recommend(self, user: int) -> Indices:
        found = self._model.recommend(self._user_ids[user], DEPTH)
        made: Indices = found["item"].to_numpy().astype(np.int64)
        return made


class Surprise:
    """Matrix factorizations of the library Surprise.

    Its own way to rank asks for one pair after the other, so the scores of a user's movies are
    computed from its arrays.

    Args:
        kind: ``svd`` or ``svd++``.
    """

    def __init__(self, kind: str) -> None:
        from surprise import SVD, SVDpp

        self._model: Any = {"svd": SVD, "svd++": SVDpp}[kind](random_state=0)

    def fit(self, split: Split) -> None:
        import pandas as pd
        from surprise import Dataset, Reader

        frame = pd.DataFrame({"user": split.user, "movie": split.movie, "stars": split.stars})
        rows = Dataset.load_from_df(frame, Reader(rating_scale=(0.5, 5.0)))
        self._train = rows.build_full_trainset()
        self._model.fit(self._train)
        self._split, self._histories = split, Histories(split)
        # Surprise numbers users and movies in the order in which they appear.
        self._movie = np.array([self._train.to_inner_iid(m) for m in range(len(split.movie_ids))])

    def save(self, path: Path) -> None:
        names = [name for name in ("pu", "qi", "bu", "bi", "yj") if hasattr(self._model, name)]
        with path.open("wb") as file:
            np.savez(file, **{name: getattr(self._model, name) for name in names})

    def predict(self, split: Split) -> Stars | None:
        user, movie = (
            _places(ids, asked)
            for ids, asked in (
                (split.user_ids, split.asked_user),
                (split.movie_ids, split.asked_movie),
            )
        )
        # -1 is an id that the library does not know.
        pairs = zip(user.tolist(), movie.tolist(), strict=True)
        return np.array([self._model.predict(u, m).est for u, m in pairs])

    def recommend(self, user: int) -> Indices:
        model, inner = self._model, self._train.to_inner_uid(user)
        vector = model.pu[inner].copy()
        if hasattr(model, "yj"):
            rated = self._movie[self._histories.of(user)]
            vector += model.yj[rated].sum(axis=0) / np.sqrt(len(rated))
        scores = (model.bi + model.qi @ vector)[self._movie]
        return self._split.movie_ids[best_unrated(scores, self._histories.of(user))]


class Ease:
    """EASE by its formula (Steck, WWW 2019), with the penalty 500 of the paper."""

    def fit(self, split: Split) -> None:
        from scipy.sparse import csr_matrix

        ones = np.ones(len(split.user), np.float32)
        shape = (len(split.user_ids), len(split.movie_ids))
        self._visits = csr_matrix((ones, (split.user, split.movie)), shape)
        gram = (self._visits.T @ self._visits).toarray()
        gram[np.diag_indices_from(gram)] += 500
        inverse = np.linalg.inv(gram)
        self._weights = -inverse / np.diag(inverse)
        self._weights[np.diag_indices_from(gram)] = 0
        self._split, self._histories = split, Histories(split)

    def save(self, path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, self._weights)

    def predict(self, split: Split) -> Stars | None:
        return None

    def recommend(self, user: int) -> Indices:
        rated = self._histories.of(user)
        scores = self._weights[rated].sum(axis=0)
        return self._split.movie_ids[best_unrated(scores, rated)]


RECOMMENDERS: Final[dict[str, Callable[[], Any]]] = {
    "popularity": Popularity,
    "implicit ALS": lambda: Implicit("als"),
    "implicit BPR": lambda: Implicit("bpr"),
    "LensKit BiasedMF": lambda: LensKit("biased-mf"),
    "LensKit item-kNN, stars": lambda: LensKit("item-knn"),
    "LensKit item-kNN, visits": lambda: LensKit("item-knn-implicit"),
    "Surprise SVD": lambda: Surprise("svd"),
    "Surprise SVD++": lambda: Surprise("svd++"),
    "EASE": Ease,
}


def _places(ids: Indices, asked: Indices) -> Indices:
    place = np.searchsorted(ids, asked).clip(max=len(ids) - 1)
    return np.where(ids[place] == asked, place, -1)


if __name__ == "__main__":
    print_answer(RECOMMENDERS[sys.argv[1]](), Path(sys.argv[2]))
