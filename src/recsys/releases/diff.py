"""What the site would notice if one release took another's place."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from recsys import contract, vectors
from recsys.database import Connection

SENTINELS: Final = 50
TOP_K: Final = 10
_NAMED: Final = 20


class IdChanges(BaseModel):
    """How a set of ids differs: sizes, and the first few ids that went and came."""

    model_config = ConfigDict(frozen=True)

    before: int
    after: int
    vanished: int
    appeared: int
    first_vanished: tuple[int, ...]
    first_appeared: tuple[int, ...]


class ReleaseDiff(BaseModel):
    """A release held against the one that it would replace.

    Attributes:
        champion: the release that is served.
        candidate: the one that would be.
        movies: with movie vectors.
        users: with towers.
        neighbour_overlap: mean share of the `TOP_K` nearest movies that stay, over sentinel movies.
        recommendation_overlap: the same of recommendations, over sentinel users.
        recommended_before: share of the champion's movies that sentinel users are recommended.
        recommended_after: share of the candidate's.
        sentinel_movies: how many movies were asked about.
        sentinel_users: how many users.
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
    """Asks both releases' tables the same questions; changes nothing.

    Sentinels are users and movies that both know, chosen by a hash of their id: the same ones
    every week.
    """
    movies = table_ids(conn, champion, "movie_vectors"), table_ids(conn, candidate, "movie_vectors")
    users = table_ids(conn, champion, "user_towers"), table_ids(conn, candidate, "user_towers")
    sentinel_movies, sentinel_users = choose_sentinels(*movies), choose_sentinels(*users)

    def neighbours(release: str, movie: int) -> set[int]:
        found = vectors.nearest_to_movie(
            conn, release_table("movie_vectors", release), movie, TOP_K
        )
        return {other for other, _ in found}

    def recommendations(release: str, user: int) -> set[int]:
        relations = release_table("user_towers", release), release_table("movie_towers", release)
        return {movie for movie, _ in vectors.nearest_to_user(conn, *relations, user, TOP_K)}

    near = _asked(neighbours, champion, candidate, sentinel_movies)
    best = _asked(recommendations, champion, candidate, sentinel_users)
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


Answers = list[tuple[set[int], set[int]]]


def release_table(table: str, release: str) -> str:
    """A release's own table, with its schema."""
    return f"{contract.LEDGER_SCHEMA}.{contract.table_name(table, release)}"


def table_ids(conn: Connection, release: str, table: str) -> set[int]:
    """All ids that a release's table has a vector of."""
    column = next(t.id_column for t in contract.PUBLIC_TABLES if t.name == table)
    query = sql.SQL("select {} from {}.{}").format(
        sql.Identifier(column),
        sql.Identifier(contract.LEDGER_SCHEMA),
        sql.Identifier(contract.table_name(table, release)),
    )
    return {row[0] for row in conn.execute(query)}


def choose_sentinels(before: set[int], after: set[int]) -> list[int]:
    """Up to `SENTINELS` ids that both know, in an order that is the same every week."""

    def place(number: int) -> bytes:
        return hashlib.sha256(str(number).encode()).digest()

    return sorted(before & after, key=place)[:SENTINELS]


def _id_changes(before: set[int], after: set[int]) -> IdChanges:
    vanished, appeared = sorted(before - after), sorted(after - before)
    return IdChanges(
        before=len(before),
        after=len(after),
        vanished=len(vanished),
        appeared=len(appeared),
        first_vanished=tuple(vanished[:_NAMED]),
        first_appeared=tuple(appeared[:_NAMED]),
    )


def _asked(
    ask: Callable[[str, int], set[int]], champion: str, candidate: str, about: Sequence[int]
) -> Answers:
    return [(ask(champion, one), ask(candidate, one)) for one in about]


def _overlap(answers: Answers) -> float | None:
    shares = [len(before & after) / max(len(before), 1) for before, after in answers]
    return sum(shares) / len(shares) if shares else None


def _coverage(answers: list[set[int]], movies: int) -> float | None:
    return len(set().union(*answers)) / movies if answers and movies else None
