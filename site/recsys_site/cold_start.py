"""Cold start: movies for a visitor whom no release has a vector of, from a few ratings.

The code is a copy of src/recsys/recommend/cold_start.py, because the site's image does not contain
that package. tests/site/test_same_as_pipeline.py checks that both give the same movies.
docs/adr/0028-cold-start-by-taste.md compares this method with others.
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
