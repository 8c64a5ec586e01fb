"""Which of a user's movies brought a recommendation: the nearest one by the movie vectors.

The towers have no similarity of two movies that people would recognize; docs/adr/0011-cold-start.md
has the measurement. site/recsys_site/answers.py has the same query, because the site's image does
not contain this package.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, LiteralString

from psycopg import sql

from recsys.database import Connection
from recsys.vectors import relation_identifier

MIN_COSINE: Final = 0.4
"""Least likeness of a movie that is given as a reason."""
_VAGUE: Final = frozenset({"Drama"})
REPETITION_COST: Final = 0.05
"""A movie is as good a reason as a nearer one that is a reason already, if their cosines differ by
this much."""
MOST_MOVIES: Final = 100
"""Newest movies of a user that can be a reason."""

# Materialized, so that PostgreSQL compares all pairs instead of walking an index for each movie.
_NEAREST: Final[LiteralString] = """\
with own as materialized (select movieid, vector from {0} where movieid = any(%(own)s)),
     found as materialized (select movieid, vector from {0} where movieid = any(%(found)s))
select found.movieid, own.movieid, 1 - (found.vector <=> own.vector) as cosine
from found, own
where 1 - (found.vector <=> own.vector) >= %(least)s
order by found.movieid, found.vector <=> own.vector, own.movieid"""


@dataclass(frozen=True)
class Reason:
    """A movie of the user that is near to a recommended one.

    Attributes:
        movie_id: the movie.
        title: as in the dataset.
        cosine: similarity of both movie vectors, at least `MIN_COSINE`.
    """

    movie_id: int
    title: str
    cosine: float


def find_reasons(
    conn: Connection,
    movie_vectors: str,
    own: Sequence[int],
    recommended: Sequence[int],
    genres: Mapping[int, Collection[str]] | None = None,
) -> dict[int, tuple[int, float]]:
    """Finds the movie that each recommendation is explained by: a near one, not always the same.

    Args:
        conn: a connection.
        movie_vectors: the release's table of movie vectors.
        own: movieIds that the user liked or rated last; the first `MOST_MOVIES` are read.
        recommended: movieIds.
        genres: by movieId; a reason shares one (`share_genre`). None: whatever the genres.

    Returns:
        (movieId of the reason, cosine) by recommended movieId, for those that have one.
    """
    query = sql.SQL(_NEAREST).format(relation_identifier(movie_vectors))
    rows = conn.execute(
        query,
        {"own": list(own[:MOST_MOVIES]), "found": list(recommended), "least": MIN_COSINE},
    ).fetchall()
    near: dict[int, dict[int, float]] = {}
    for movie, because, cosine in rows:
        if genres is None or share_genre(genres.get(movie, ()), genres.get(because, ())):
            near.setdefault(movie, {})[because] = float(cosine)
    return choose_reasons([(movie, near[movie]) for movie in recommended if movie in near])


def share_genre(some: Collection[str], others: Collection[str]) -> bool:
    """Whether two movies share a genre, besides Drama if both have another one.

    The best-known movies of a time are near to each other, because the same people have seen them;
    a cartoon is no reason for a thriller. A movie without genres shares them with all.
    """
    if not some or not others:
        return True
    some_besides, others_besides = set(some) - _VAGUE, set(others) - _VAGUE
    if some_besides and others_besides:
        return bool(some_besides & others_besides)
    return bool(set(some) & set(others))


def choose_reasons(
    recommended: Sequence[tuple[int, Mapping[int, float]]],
) -> dict[int, tuple[int, float]]:
    """Chooses a reason for each recommendation.

    Of two movies that are about as near, the one is chosen that explains fewer recommendations
    before this one.

    Args:
        recommended: (movieId, cosine by movieId of the user's near movies), best first.

    Returns:
        (movieId of the reason, cosine) by recommended movieId.
    """
    used: Counter[int] = Counter()
    chosen = {}
    for movie, near in recommended:
        because = min(near, key=lambda own: (REPETITION_COST * used[own] - near[own], own))
        used[because] += 1
        chosen[movie] = (because, near[because])
    return chosen
