"""A rating model folded to what is served: a vector and a bias for each user and movie."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from recsys.contract import MAX_STARS, MIN_STARS
from trainer.data import Floats, Ints

_CHUNK = 1 << 18


@dataclass(frozen=True)
class FoldedRating:
    """stars = user_bias + movie_bias + user_vector . movie_vector, cut to 0.5..5.0.

    The mean is part of the users' biases. An unknown user or movie has the zero vector and the
    median bias, so that the other side's bias decides: an unknown user gets the movie's estimate,
    an unknown movie the user's own level, and both together the stars of a typical pair.

    Attributes:
        user_ids: sorted, shape (users,).
        movie_ids: sorted, shape (movies,).
        user_vectors: shape (users, dim).
        movie_vectors: shape (movies, dim).
        user_bias: stars, shape (users,).
        movie_bias: stars, shape (movies,).
    """

    user_ids: Ints
    movie_ids: Ints
    user_vectors: Floats
    movie_vectors: Floats
    user_bias: Floats
    movie_bias: Floats

    @property
    def unknown_user_bias(self) -> float:
        """Stars."""
        return float(np.median(self.user_bias))

    @property
    def unknown_movie_bias(self) -> float:
        """Stars."""
        return float(np.median(self.movie_bias))

    def predict(self, user_ids: NDArray[np.integer], movie_ids: NDArray[np.integer]) -> Floats:
        """Stars for pairs of raw ids, known or not, shape (n,)."""
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
        cut: Floats = np.clip(stars, MIN_STARS, MAX_STARS).astype(np.float32)
        return cut

    def keras_model(self) -> keras.Model:
        """Stock layers that answer likewise."""
        return build_model(self)

    def compressed(self, dim: int) -> FoldedRating:
        """The same with vectors of at most ``dim`` dimensions.

        The products of users' and movies' vectors are a matrix of low rank; its truncated singular
        value decomposition is the nearest matrix of rank ``dim`` (Eckart and Young, Psychometrika
        1, 1936). It is found from QR decompositions of both tables, without forming the matrix.
        """
        if self.user_vectors.shape[1] <= dim:
            return self
        user_q, user_r = np.linalg.qr(self.user_vectors)
        movie_q, movie_r = np.linalg.qr(self.movie_vectors)
        left, singular, right = np.linalg.svd(user_r @ movie_r.T, full_matrices=False)
        root = np.sqrt(singular[:dim])
        return replace(
            self,
            user_vectors=(user_q @ (left[:, :dim] * root)).astype(np.float32),
            movie_vectors=(movie_q @ (right[:dim].T * root)).astype(np.float32),
        )


def _places(ids: Ints, asked: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Index of each asked id in the sorted ``ids``, and whether it is there."""
    place = np.minimum(np.searchsorted(ids, asked), len(ids) - 1)
    return place, ids[place] == asked


def build_model(folded: FoldedRating) -> keras.Model:
    """A Keras model that answers as `FoldedRating.predict` does.

    Inputs ``{"userId": int64 (n,), "movieId": int64 (n,)}``; output stars, float32 (n,). Unknown
    ids are no error: see `FoldedRating` for what they get.
    """
    user_id = keras.Input(shape=(), dtype="int64", name="userId")
    movie_id = keras.Input(shape=(), dtype="int64", name="movieId")
    user = _lookup("user", folded.user_ids)(user_id)
    movie = _lookup("movie", folded.movie_ids)(movie_id)
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
    return keras.Model({"userId": user_id, "movieId": movie_id}, cut_to_stars(stars), name="recsys")


def cut_to_stars(stars: Any) -> Any:
    """The end of a served model: (n, 1) of anything -> (n,) within the range of stars."""
    # Clipping out of layers, because an operation of keras.ops is no layer: shift, cut, shift back.
    above = keras.layers.Rescaling(1.0, offset=-MIN_STARS, name="above_least")(stars)
    cut = keras.layers.ReLU(max_value=MAX_STARS - MIN_STARS, name="cut")(above)
    shifted = keras.layers.Rescaling(1.0, offset=MIN_STARS, name="within_range")(cut)
    return keras.layers.Reshape((), name="rating")(shifted)


def predict(
    model: keras.Model, user_ids: NDArray[np.integer], movie_ids: NDArray[np.integer]
) -> Floats:
    """Stars that a loaded model gives for pairs of raw ids, shape (n,)."""
    inputs = {
        "userId": np.asarray(user_ids, np.int64),
        "movieId": np.asarray(movie_ids, np.int64),
    }
    return np.asarray(model.predict(inputs, batch_size=1 << 16, verbose=0), np.float32).reshape(-1)


def _lookup(name: str, ids: Ints) -> Any:
    """Raw id -> row of the tables; row 0 is for unknown ids."""
    return keras.layers.IntegerLookup(
        vocabulary=ids.astype(np.int64), num_oov_indices=1, name=f"{name}_row"
    )


def _table(name: str, rows: Floats, unknown: float) -> Any:
    """An embedding with these rows; the row of unknown ids, never trained, is set to a constant."""
    weights = np.vstack([np.full((1, rows.shape[1]), unknown, np.float32), rows])
    layer = keras.layers.Embedding(*weights.shape, name=name)
    layer.build((None,))
    layer.set_weights([weights])
    return layer
