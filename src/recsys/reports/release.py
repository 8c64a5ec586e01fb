"""Collects the data of a release and stores its report beside its artifacts.

The report is not an artifact: it is written after the decision and can be written again.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import polars as pl
from psycopg import sql
from psycopg.errors import UndefinedTable

from recsys import contract, features, ledger, releases, vectors
from recsys.contract import Metrics
from recsys.database import Connection
from recsys.errors import ArtifactError, LedgerError, UnknownIdError
from recsys.gate import ForwardTest
from recsys.ledger import Release, State
from recsys.recommend import MOST_MOVIES, Catalog, find_reasons
from recsys.reports.own_charts import own_charts
from recsys.reports.page import QueryResult, render_report
from recsys.services import Services

log = logging.getLogger(__name__)

_KNOWN_MOVIES: Final = 6
_SENTINEL_USERS: Final = 4
_RATERS: Final = 2000
"""Users whose ratings are counted to find well-known movies; all users would take seconds."""
_DELETED_STATES: Final = (State.RETIRING, State.RETIRED)


def make_report(services: Services, release_id: str) -> str:
    """Renders the report of a complete release and stores it; returns its key.

    Raises:
        LedgerError: the release is unknown, not complete, or retired.
        ServiceUnavailableError: a server failed.
    """
    page = report_page(services, release_id)
    key = contract.release_key(release_id, contract.REPORT_FILE)
    services.store.put_bytes(key, page.encode())
    with services.connect() as conn:
        # Retirement may have listed the objects to delete before the report was stored.
        if ledger.get(conn, release_id).state in _DELETED_STATES:
            services.store.delete([key])
    return key


def report_page(services: Services, release_id: str) -> str:
    """Renders the report of a complete release; data that cannot be read is left out.

    Raises the same errors as `make_report`.
    """
    with services.connect() as conn:
        release = ledger.get(conn, release_id)
        if release.state in _DELETED_STATES:
            raise LedgerError(
                f"release {release_id} is {release.state}: its data has been deleted",
                hint="`recsys why` shows its history",
            )
        manifest = release.complete_manifest
        decided = ledger.last_decision(conn, release_id)
        champion = _champion_then(conn, release_id)
        catalog = _catalog(services, release.dataset_md5)
        return render_report(
            metrics=_metrics(services, release),
            release_id=release_id,
            history=_json(services, contract.release_key(release_id, contract.HISTORY_FILE)),
            decision=decided[0] if decided else None,
            diff=decided[1] if decided else None,
            forward=_forward(conn, release),
            lineage=_lineage(release),
            stats=_json(
                services, contract.features_key(release.features_prefix, contract.STATS_FILE)
            ),
            drift=_drift(services, release, champion),
            movie_vectors=release.tables.get("movie_vectors"),
            neighbors=_neighbors(conn, release, champion, catalog),
            recommendations=_recommendations(conn, release, champion, catalog),
            own_charts=own_charts(services.store, manifest),
        )


def _metrics(services: Services, release: Release) -> Metrics:
    """Returns what the verifier measured; of a release of an earlier pipeline, what was stated."""
    try:
        measured = releases.find_measurement(
            services.store, release.release_id, release.manifest_sha256
        )
    except ArtifactError as damage:
        log.warning("the report shows the trainer's metrics: %s", damage)
        measured = None
    return measured.metrics if measured else release.complete_manifest.metrics


def _forward(conn: Connection, release: Release) -> list[ForwardTest]:
    """Returns the forward tests of a release, and those of others on its dataset."""
    own = ledger.forward_tests(conn, release_id=release.release_id, limit=20)
    others = ledger.forward_tests(conn, dataset_md5=release.dataset_md5, limit=20)
    return [one.test for one in (*own, *others)]


def _champion_then(conn: Connection, release_id: str) -> Release | None:
    """Returns the champion that the gate compared the release with, if its tables still exist."""
    champion_id = ledger.judged_against(conn, release_id)
    champion = ledger.find(conn, champion_id) if champion_id else None
    return champion if champion is not None and champion.state not in _DELETED_STATES else None


def _catalog(services: Services, md5: str) -> Catalog:
    try:
        return Catalog.of(services, md5)
    except ArtifactError:
        log.info("the features of dataset %s have been deleted: no titles", md5)
        return Catalog(pl.read_csv(io.StringIO("movieId,title,genres")))


def _json(services: Services, key: str) -> Any:
    try:
        return json.loads(services.store.get_bytes(key))
    except (ArtifactError, ValueError) as error:
        log.info("left out of the report: %s", error)
        return None


def _drift(
    services: Services, release: Release, champion: Release | None
) -> dict[str, float] | None:
    if champion is None or champion.dataset_md5 == release.dataset_md5:
        return None
    found = features.read_drift(release.features_prefix, champion.dataset_md5, services.store)
    return found.measures() if found else None


def _lineage(release: Release) -> dict[str, Any]:
    manifest = release.complete_manifest
    return {
        "dataset_md5": release.dataset_md5,
        "trainer_digest": manifest.build.trainer_digest,
        "fingerprint": release.fingerprint,
        "run_id": release.run_id,
        "trained_at": f"{manifest.created_at:%Y-%m-%d %H:%M:%S} UTC",
        **manifest.lineage,
        "build_settings": manifest.build.settings,
        "serving": manifest.serving.model_dump(mode="json"),
    }


def _neighbors(
    conn: Connection, release: Release, champion: Release | None, catalog: Catalog
) -> list[QueryResult]:
    """Finds movies similar to the ones that most users have rated."""

    def near(of: Release, movie: int) -> tuple[str, ...]:
        relation = releases.release_table("movie_vectors", of.release_id)
        found = vectors.nearest_to_movie(conn, relation, movie, releases.TOP_K)
        return tuple(catalog.movie(other).title for other, _ in found)

    with _tables_may_be_missing():
        users = releases.release_table("user_towers", release.release_id)
        known = conn.execute(
            sql.SQL(
                "select movie from (select seen from {} order by userid limit %s) raters, "
                "unnest(seen) movie group by movie order by count(*) desc, movie limit %s"
            ).format(sql.Identifier(*users.split("."))),
            (_RATERS, _KNOWN_MOVIES),
        ).fetchall()
        return list(
            _query_results(near, release, champion, [(m, catalog.movie(m).title) for (m,) in known])
        )
    return []


def _recommendations(
    conn: Connection, release: Release, champion: Release | None, catalog: Catalog
) -> list[QueryResult]:
    """Recommends movies for sentinel users, who stay the same from week to week."""

    def best(of: Release, user: int) -> tuple[str, ...]:
        users = releases.release_table("user_towers", of.release_id)
        movies = releases.release_table("movie_towers", of.release_id)
        found = vectors.nearest_to_user(conn, users, movies, user, releases.TOP_K)
        return tuple(catalog.movie(movie).title for movie, _ in found)

    def because(user: int) -> tuple[str | None, ...]:
        return _reasons(conn, release, catalog, user)

    with _tables_may_be_missing():
        users = releases.table_ids(conn, release.release_id, "user_towers")
        known = releases.table_ids(conn, champion.release_id, "user_towers") if champion else users
        asked = releases.choose_sentinels(users, known)[:_SENTINEL_USERS]
        subjects = [(user, f"user {user}") for user in asked]
        return list(_query_results(best, release, champion, subjects, because))
    return []


def _reasons(
    conn: Connection, release: Release, catalog: Catalog, user: int
) -> tuple[str | None, ...]:
    """Finds which of the user's newest movies brought each recommendation, None if none did."""
    users, movies, movie_vectors = (
        releases.release_table(table, release.release_id)
        for table in ("user_towers", "movie_towers", "movie_vectors")
    )
    found = vectors.nearest_to_user(conn, users, movies, user, releases.TOP_K)
    recommended = [movie for movie, _ in found]
    query = sql.SQL("select seen[1:%s] from {} where userid = %s")
    [(own,)] = conn.execute(
        query.format(vectors.relation_identifier(users)), (MOST_MOVIES, user)
    ).fetchall()
    genres = {movie: catalog.movie(movie).genres for movie in (*own, *recommended)}
    reasons = find_reasons(conn, movie_vectors, own, recommended, genres)
    return tuple(
        catalog.movie(reasons[movie][0]).title if movie in reasons else None
        for movie in recommended
    )


def _query_results(
    query: Callable[[Release, int], tuple[str, ...]],
    release: Release,
    champion: Release | None,
    about: list[tuple[int, str]],
    reasons: Callable[[int], tuple[str | None, ...]] = lambda _: (),
) -> Iterator[QueryResult]:
    for number, name in about:
        before = None
        if champion is not None:
            with _tables_may_be_missing():
                before = query(champion, number)
        with _tables_may_be_missing():
            yield QueryResult(name, query(release, number), before, reasons(number))


@contextmanager
def _tables_may_be_missing() -> Iterator[None]:
    """Skips queries on tables that no longer exist or on ids that one release lacks."""
    try:
        yield
    except (UndefinedTable, UnknownIdError) as error:
        log.info("left out of the report: %s", error)
