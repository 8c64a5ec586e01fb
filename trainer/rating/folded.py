"""The rating model as it is served: one vector and one bias for each user and movie."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr
from threadpoolctl import threadpool_limits

from recsys.contract import MAX_STARS, MIN_STARS
from trainer.data import Floats, Ids
from verifier.models import predict as predict

_CHUNK = 1 << 18
LARGEST_EXACT_ID = (1 << 24) - 1
"""float32 holds all integers up to the next one."""


@dataclass(frozen=True)
class FoldedRating:
    """Predicts user_bias + movie_bias + user_vector . movie_vector, clipped to 0.5..5.0 stars.

    The global mean is part of the users' biases. An unknown user or movie has the zero vector and
    the median bias. Thus the prediction for an unknown user is the movie's average for a typical
    user, for an unknown movie the user's average, and for both the stars of a typical pair.

    Attributes:
        user_ids: sorted, shape (users,).
        movie_ids: sorted, shape (movies,).
        user_vectors: shape (users, dim).
        movie_vectors: shape (movies, dim).
        user_bias: stars, shape (users,).
        movie_bias: stars, shape (movies,).
    """

    user_ids: Ids
    movie_ids: Ids
    user_vectors: Floats
    movie_vectors: Floats
    user_bias: Floats
    movie_bias: Floats

    @property
    def unknown_user_bias(self) -> float:
        """Bias of an unknown user: the median, in stars."""
        return float(np.median(self.user_bias))

    @property
    def unknown_movie_bias(self) -> float:
        """Bias of an unknown movie: the median, in stars."""
        return float(np.median(self.movie_bias))

    def predict(self, user_ids: NDArray[np.integer], movie_ids: NDArray[np.integer]) -> Floats:
        """Predicts stars for pairs of raw ids, known or unknown, shape (n,)."""
        user, user_known = _places(self.user_ids, user_ids)
        movie, movie_known = _places(self.movie_ids, movie_ids)
        stars = np.where(user_known, self.user_bias[user], self.unknown_user_bias) + np.where(
            movie_known, self.movie_bias[movie], self.unknown_movie_bias
        )
        both = np.flatnonzero(user_known & movie_known)
        for rows in np.array_split(both, len(both) // _CHUNK + 1):
            stars[rows] += np.einsum(
                "nd,nd->n", self.user_vectors[user[rows]], self.movie_vectors[movie[rows]]
            )
        clipped: Floats = np.clip(stars, MIN_STARS, MAX_STARS).astype(np.float32)
        return clipped

    def keras_model(self) -> keras.Model:
        """Returns a model of stock layers with the same predictions."""
        return build_model(self)

    def average(self, other: FoldedRating) -> FoldedRating:
        """Returns the model whose prediction is the mean of both, which have the same ids."""
        return replace(
            self,
            user_vectors=np.hstack([self.user_vectors, other.user_vectors]) / np.float32(2),
            movie_vectors=np.hstack([self.movie_vectors, other.movie_vectors]),
            user_bias=(self.user_bias + other.user_bias) / np.float32(2),
            movie_bias=(self.movie_bias + other.movie_bias) / np.float32(2),
        )

    def compress(self, dim: int) -> FoldedRating:
        """Returns the best approximation with vectors of at most ``dim`` dimensions.

        That is the truncated singular value decomposition of the matrix of all products of user and
        movie vectors (Eckart and Young, Psychometrika 1, 1936). It is computed from QR
        decompositions of both tables, without forming the matrix.
        """
        if self.user_vectors.shape[1] <= dim:
            return self
        # Of narrow matrices, which a second thread makes slower on a busy machine.
        with threadpool_limits(1, "blas"):
            # In single precision; NumPy's decompositions compute in double precision.
            user_q, user_r = qr(self.user_vectors, mode="economic", check_finite=False)
            movie_q, movie_r = qr(self.movie_vectors, mode="economic", check_finite=False)
            left, singular, right = np.linalg.svd(user_r @ movie_r.T, full_matrices=False)
        root = np.sqrt(singular[:dim])
        return replace(
            self,
            user_vectors=(user_q @ (left[:, :dim] * root)).astype(np.float32),
            movie_vectors=(movie_q @ (right[:dim].T * root)).astype(np.float32),
        )


def _places(ids: Ids, wanted: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Returns the index of each wanted id in the sorted ``ids``, and whether it is among them."""
    place = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return place, ids[place] == wanted


def build_model(folded: FoldedRating) -> keras.Model:
    """Builds a Keras model with the same predictions as `FoldedRating.predict`.

    Its inputs are ``{"userId": int64 (n,), "movieId": int64 (n,)}``, its output is stars, float32
    (n,). Unknown ids are valid input; see `FoldedRating`.
    """
    user_id = keras.Input(shape=(), dtype="int64", name="userId")
    movie_id = keras.Input(shape=(), dtype="int64", name="movieId")
    user = _row("user", folded.user_ids, user_id)
    movie = _row("movie", folded.movie_ids, movie_id)
    user_vector = _table("user_vector", folded.user_vectors, 0.0)(user)
    movie_vector = _table("movie_vector", folded.movie_vectors, 0.0)(movie)
    user_bias = _table("user_bias", folded.user_bias[:, None], folded.unknown_user_bias)(user)
    movie_bias = _table("movie_bias", folded.movie_bias[:, None], folded.unknown_movie_bias)(movie)
    stars = keras.layers.Add(name="stars")(
        [
            user_bias,
            movie_bias,
            keras.layers.Dot(axes=1, name="interaction")([user_vector, movie_vector]),
        ]
    )
    return keras.Model(
        {"userId": user_id, "movieId": movie_id}, clip_to_star_range(stars), name="recsys"
    )


def clip_to_star_range(stars: Any) -> Any:
    """Clips the output of a served model to the range of stars: (n, 1) -> (n,)."""
    # There is no clipping layer, and keras.ops are not layers: shift, clip by ReLU, shift back.
    above = keras.layers.Rescaling(1.0, offset=-MIN_STARS, name="above_least")(stars)
    cut = keras.layers.ReLU(max_value=MAX_STARS - MIN_STARS, name="cut")(above)
    shifted = keras.layers.Rescaling(1.0, offset=MIN_STARS, name="within_range")(cut)
    return keras.layers.Reshape((), name="rating")(shifted)


def _row(name: str, ids: Ids, raw: Any) -> Any:
    """Maps raw ids, int64 (n,), to rows of the tables, (n,); row 0 is for unknown ids.

    `keras.layers.IntegerLookup` needs TensorFlow. Ids below 2**24, which float32 holds exactly, are
    looked up by layers that all backends have: a table of one row number for each possible id.
    """
    if ids[-1] >= LARGEST_EXACT_ID:
        return keras.layers.IntegerLookup(
            vocabulary=ids.astype(np.int64), num_oov_indices=1, name=f"{name}_row"
        )(raw)
    largest = int(ids[-1])
    rows = np.zeros((largest + 2, 1), np.float32)
    rows[ids, 0] = np.arange(1, len(ids) + 1, dtype=np.float32)
    number = keras.layers.Rescaling(1.0, name=f"{name}_number")(raw)
    # Negative ids become 0, larger ones the number after the largest: both have row 0.
    within = keras.layers.ReLU(max_value=largest + 1, name=f"{name}_within_table")(number)
    return keras.layers.Reshape((), name=f"{name}_row")(
        _layer_with_rows(f"{name}_row_number", rows)(within)
    )


def _table(name: str, rows: Floats, unknown: float) -> Any:
    """Returns an embedding of these rows, after a constant row 0 for unknown ids."""
    return _layer_with_rows(name, np.vstack([np.full((1, rows.shape[1]), unknown), rows]))


def _layer_with_rows(name: str, rows: NDArray[np.floating]) -> Any:
    layer = keras.layers.Embedding(*rows.shape, name=name)
    layer.build((None,))
    layer.set_weights([rows.astype(np.float32)])
    return layer
