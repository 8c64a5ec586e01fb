"""Differences that the site would see if one release replaced another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

import psycopg
from psycopg import sql
from pydantic import BaseModel, ConfigDict

from recsys import contract, vectors
from recsys.database import Connection
from recsys.errors import VectorError
from recsys.releases.public_names import release_table

SENTINELS: Final = 50
TOP_K: Final = 10
_LISTED_IDS: Final = 20


class IdChanges(BaseModel):
    """How a set of ids changed: sizes, and the first few ids removed and added."""

    model_config = ConfigDict(frozen=True)

    before: int
    after: int
    vanished: int
    appeared: int
    first_vanished: tuple[int, ...]
    first_appeared: tuple[int, ...]


class ReleaseDiff(BaseModel):
    """Comparison of a release with the champion that it would replace.

    Attributes:
        champion: id of the current release.
        candidate: id of the release that would replace it.
        movies: changes of the movies with a movie vector.
        users: changes of the users with a tower.
        neighbour_overlap: mean share of the `TOP_K` nearest movies that both releases have in
            common, over sentinel movies. The ledger stores this name.
        recommendation_overlap: the same for recommendations, over sentinel users.
        recommended_before: share of the champion's movies that are recommended to sentinel users.
        recommended_after: the same for the candidate.
        sentinel_movies: number of sentinel movies.
        sentinel_users: number of sentinel users.
    """

    model_config = ConfigDict(frozen=True)

    champion: str
    candidate: str
    movies: IdChanges
    users: IdChanges
    neighbour_overlap: float | None
    recommendation_overlap: float | None
    recommended_before: float | None
    recommended_after: float | None
    sentinel_movies: int
    sentinel_users: int


def compare_releases(conn: Connection, champion: str, candidate: str) -> ReleaseDiff:
    """Runs the same queries on the tables of both releases.

    Sentinels are movies and users that both releases contain, chosen by a hash of their id, so
    that they stay the same from week to week.

    Raises:
        VectorError: a table of one of them is missing.
    """
    try:
        return _compare(conn, champion, candidate)
    except psycopg.errors.UndefinedTable as error:
        raise VectorError(
            f"releases {champion} and {candidate} cannot be compared",
            found=str(error).strip().splitlines()[0],
            expected="all tables of both",
            hint="`recsys doctor` names the release that is damaged",
        ) from error


def _compare(conn: Connection, champion: str, candidate: str) -> ReleaseDiff:
    movies = table_ids(conn, champion, "movie_vectors"), table_ids(conn, candidate, "movie_vectors")
    users = table_ids(conn, champion, "user_towers"), table_ids(conn, candidate, "user_towers")
    sentinel_movies, sentinel_users = choose_sentinels(*movies), choose_sentinels(*users)

    def neighbors(release: str, movie: int) -> set[int]:
        nearest = vectors.nearest_to_movie(
            conn, release_table("movie_vectors", release), movie, TOP_K
        )
        return {other for other, _ in nearest}

    def recommendations(release: str, user: int) -> set[int]:
        relations = release_table("user_towers", release), release_table("movie_towers", release)
        return {movie for movie, _ in vectors.nearest_to_user(conn, *relations, user, TOP_K)}

    near = _results(neighbors, champion, candidate, sentinel_movies)
    best = _results(recommendations, champion, candidate, sentinel_users)
    return ReleaseDiff(
        champion=champion,
        candidate=candidate,
        movies=_id_changes(*movies),
        users=_id_changes(*users),
        neighbour_overlap=_overlap(near),
        recommendation_overlap=_overlap(best),
        recommended_before=_coverage([before for before, _ in best], len(movies[0])),
        recommended_after=_coverage([after for _, after in best], len(movies[1])),
        sentinel_movies=len(sentinel_movies),
        sentinel_users=len(sentinel_users),
    )


ResultPairs = list[tuple[set[int], set[int]]]
"""Results of the champion and of the candidate for each sentinel."""


def table_ids(conn: Connection, release: str, table: str) -> set[int]:
    """All ids in a release's table."""
    query = sql.SQL("select {} from {}.{}").format(
        sql.Identifier(contract.public_table(table).id_column),
        sql.Identifier(contract.LEDGER_SCHEMA),
        sql.Identifier(contract.table_name(table, release)),
    )
    return {row[0] for row in conn.execute(query)}


def choose_sentinels(before: set[int], after: set[int]) -> list[int]:
    """Chooses up to `SENTINELS` ids that both sets contain, by a hash of the id."""

    def id_hash(number: int) -> bytes:
        return hashlib.sha256(str(number).encode()).digest()

    return sorted(before & after, key=id_hash)[:SENTINELS]


def _id_changes(before: set[int], after: set[int]) -> IdChanges:
    vanished, appeared = sorted(before - after), sorted(after - before)
    return IdChanges(
        before=len(before),
        after=len(after),
        vanished=len(vanished),
        appeared=len(appeared),
        first_vanished=tuple(vanished[:_LISTED_IDS]),
        first_appeared=tuple(appeared[:_LISTED_IDS]),
    )


def _results(
    query: Callable[[str, int], set[int]], champion: str, candidate: str, sentinels: Sequence[int]
) -> ResultPairs:
    return [(query(champion, one), query(candidate, one)) for one in sentinels]


def _overlap(results: ResultPairs) -> float | None:
    shares = [len(before & after) / max(len(before), 1) for before, after in results]
    return sum(shares) / len(shares) if shares else None


def _coverage(results: list[set[int]], movies: int) -> float | None:
    return len(set().union(*results)) / movies if results and movies else None
