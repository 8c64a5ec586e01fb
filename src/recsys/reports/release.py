"""Collects what is known of a release, and stores its report beside its artifacts.

The report is no artifact: it is made after the decision, and can be made again.
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
from recsys.database import Connection
from recsys.errors import ArtifactError, LedgerError, UnknownIdError
from recsys.ledger import Release, State
from recsys.recommend import Catalog
from recsys.reports.page import Answer, render_report
from recsys.services import Services

log = logging.getLogger(__name__)

_KNOWN_MOVIES: Final = 6
_SENTINEL_USERS: Final = 4
_RATERS: Final = 2000
"""Users among whom the best-known movies are counted: all of them would take seconds."""
_GONE: Final = (State.RETIRING, State.RETIRED)


def make_report(services: Services, release_id: str) -> str:
    """Makes a complete release's report and stores it; returns its key.

    Raises:
        LedgerError: the release is unknown, not complete, or retired.
        ServiceUnavailableError: a server failed.
    """
    page = report_page(services, release_id)
    key = contract.release_key(release_id, contract.REPORT_FILE)
    services.store.put_bytes(key, page.encode())
    with services.connect() as conn:
        # Retirement may have listed what to delete before the report was there.
        if ledger.get(conn, release_id).state in _GONE:
            services.store.delete([key])
    return key


def stored_report(services: Services, release_id: str) -> str | None:
    """The report as it was stored when the release was judged; None if there is none."""
    key = contract.release_key(release_id, contract.REPORT_FILE)
    return services.store.get_bytes(key).decode() if services.store.head(key) else None


def report_page(services: Services, release_id: str) -> str:
    """The report of a complete release as one HTML page; what cannot be read is left out.

    Raises what `make_report` raises.
    """
    with services.connect() as conn:
        release = ledger.get(conn, release_id)
        if release.state in _GONE:
            raise LedgerError(
                f"release {release_id} is {release.state}: nothing is left to report on",
                hint="`recsys why` still says what became of it",
            )
        manifest = release.complete_manifest
        decided = ledger.last_decision(conn, release_id)
        champion = _champion_then(conn, release_id)
        catalog = _catalog(services, release.dataset_md5)
        return render_report(
            metrics=manifest.metrics,
            release_id=release_id,
            history=_json(services, contract.release_key(release_id, contract.HISTORY_FILE)),
            decision=decided[0] if decided else None,
            diff=decided[1] if decided else None,
            lineage=_lineage(release),
            stats=_json(services, contract.features_key(release.dataset_md5, contract.STATS_FILE)),
            drift=_drift(services, release, champion),
            movie_vectors=release.tables.get("movie_vectors"),
            neighbours=_neighbours(conn, release, champion, catalog),
            recommendations=_recommendations(conn, release, champion, catalog),
        )


def _champion_then(conn: Connection, release_id: str) -> Release | None:
    """The champion that the release was judged against, if its tables are still there."""
    champion_id = ledger.judged_against(conn, release_id)
    champion = ledger.find(conn, champion_id) if champion_id else None
    return champion if champion is not None and champion.state not in _GONE else None


def _catalog(services: Services, md5: str) -> Catalog:
    try:
        return Catalog.of(services, md5)
    except ArtifactError:
        log.info("titles are gone with the features of dataset %s", md5)
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
    found = features.read_drift(release.dataset_md5, champion.dataset_md5, services.store)
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


def _neighbours(
    conn: Connection, release: Release, champion: Release | None, catalog: Catalog
) -> list[Answer]:
    """Neighbours of the movies that people know best."""

    def near(of: Release, movie: int) -> tuple[str, ...]:
        relation = releases.release_table("movie_vectors", of.release_id)
        found = vectors.nearest_to_movie(conn, relation, movie, releases.TOP_K)
        return tuple(catalog.movie(other).title for other, _ in found)

    with _tables_may_be_gone():
        users = releases.release_table("user_towers", release.release_id)
        known = conn.execute(
            sql.SQL(
                "select movie from (select seen from {} order by userid limit %s) raters, "
                "unnest(seen) movie group by movie order by count(*) desc, movie limit %s"
            ).format(sql.Identifier(*users.split("."))),
            (_RATERS, _KNOWN_MOVIES),
        ).fetchall()
        return list(
            _answers(near, release, champion, [(m, catalog.movie(m).title) for (m,) in known])
        )
    return []


def _recommendations(
    conn: Connection, release: Release, champion: Release | None, catalog: Catalog
) -> list[Answer]:
    """Recommendations of the same sentinel users every week."""

    def best(of: Release, user: int) -> tuple[str, ...]:
        users = releases.release_table("user_towers", of.release_id)
        movies = releases.release_table("movie_towers", of.release_id)
        found = vectors.nearest_to_user(conn, users, movies, user, releases.TOP_K)
        return tuple(catalog.movie(movie).title for movie, _ in found)

    with _tables_may_be_gone():
        users = releases.table_ids(conn, release.release_id, "user_towers")
        known = releases.table_ids(conn, champion.release_id, "user_towers") if champion else users
        asked = releases.choose_sentinels(users, known)[:_SENTINEL_USERS]
        return list(_answers(best, release, champion, [(u, f"user {u}") for u in asked]))
    return []


def _answers(
    ask: Callable[[Release, int], tuple[str, ...]],
    release: Release,
    champion: Release | None,
    about: list[tuple[int, str]],
) -> Iterator[Answer]:
    for number, name in about:
        before = None
        if champion is not None:
            with _tables_may_be_gone():
                before = ask(champion, number)
        with _tables_may_be_gone():
            yield Answer(name, ask(release, number), before)


@contextmanager
def _tables_may_be_gone() -> Iterator[None]:
    """Leaves out what has no table (any more) or an id that one release does not know."""
    try:
        yield
    except (UndefinedTable, UnknownIdError) as error:
        log.info("left out of the report: %s", error)
