"""Cold start: movies for someone who was not in the training data, from a few ratings.

A movie's score is its cosine to the user's profile, times the number of its ratings ** 0.2. The
profile is the sum of the movie vectors of the rated movies, weighted by their stars, so the cosine
is a weighted sum of the cosines to these movies. docs/adr/0028-cold-start-by-taste.md compares this
with other methods on users that were hidden from training.

In SQL, from the liked movies and without the number of ratings::

    select movieid,
           1 - (vector <=> (select avg(vector) from movie_vectors
                            where movieid = any(array[1, 6, 50]))) as cosine
    from movie_vectors
    where movieid <> all(array[1, 6, 50])
    order by vector <=> (select avg(vector) from movie_vectors where movieid = any(array[1, 6, 50]))
    limit 10
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

NEUTRAL_STARS: Final = 2.5
"""A rating above it attracts, one below repels. Less than the mean, because people mostly rate
movies that they chose to see."""
POPULARITY_EXPONENT: Final = 0.2
"""With 0, hardly known movies are recommended; the more, the more often hits are, to everybody."""
NEAREST: Final = 300
"""Candidates that are nearest to the profile."""
MOST_RATED: Final = 1000
"""Further candidates: the movies with the most ratings. A movie that is neither nearest nor among
them could not score highest."""


def make_profile(vectors: Floats, stars: Floats) -> Floats:
    """Computes the profile of someone who gave these stars.

    site/recsys_site/cold_start.py has a copy of this module, because the site's image does not
    contain this package; tests/site/test_same_as_pipeline.py checks that both give the same.

    Args:
        vectors: movie vectors of the rated movies, each of length 1, shape (n, dim).
        stars: shape (n,).

    Returns:
        A vector of length 1, shape (dim,); zeros if the ratings say nothing: there are none, or
        only neutral ones.
    """
    profile: Floats = (stars - NEUTRAL_STARS).astype(np.float32) @ vectors
    length = float(np.linalg.norm(profile))
    return profile / length if length > 0 else profile


def rank(
    cosines: Mapping[int, float], counts: Mapping[int, int], k: int
) -> list[tuple[int, float]]:
    """Orders candidates by taste and popularity.

    Args:
        cosines: cosine to the profile by movieId; of a profile of zeros, any equal numbers.
        counts: number of ratings by movieId; a missing one counts as 1.
        k: number of movies.

    Returns:
        (movieId, score), best first.
    """
    scored = [
        (movie, cosine * max(counts.get(movie, 1), 1) ** POPULARITY_EXPONENT)
        for movie, cosine in cosines.items()
    ]
    scored.sort(key=lambda one: (-one[1], one[0]))
    return scored[:k]
