"""What a forward test is about: which releases, and which ratings each of them could not know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl

from recsys import features, ledger
from recsys.database import Connection
from recsys.evaluation import HASHES, place_of
from recsys.gate import ForwardSettings
from recsys.ledger import Release
from recsys.pipeline.run import Run
from recsys.services import Services

PAIR: Final = ["userId", "movieId"]


class UntestableError(Exception):
    """A release cannot be tested on this dataset; the message says why."""


def releases_to_test(services: Services, run: Run, settings: ForwardSettings) -> list[Release]:
    """Returns the champion and former champions; nothing if all were tested on this dataset.

    Args:
        services: PostgreSQL and S3.
        run: the run with the new dataset.
        settings: how many former champions.
    """
    with services.connect() as conn:
        ledger.check_current(conn)
        champion = ledger.champion(conn)
        if champion is None or champion.dataset_md5 == run.build.dataset_md5:
            return []
        known = ledger.forward_tests(conn, dataset_md5=run.build.dataset_md5)
        tested = {one.test.release_id for one in known}
        wanted = list(_wanted(conn, champion, run, settings))
    return [] if all(release.release_id in tested for release in wanted) else wanted


def _wanted(
    conn: Connection, champion: Release, run: Run, settings: ForwardSettings
) -> Iterator[Release]:
    yield champion
    for listed in ledger.rollback_targets(conn, settings.releases):
        if listed.dataset_md5 != run.build.dataset_md5:
            yield ledger.get(conn, listed.release_id)


def newer_ratings(
    services: Services, release: Release, interactions: Path, settings: ForwardSettings
) -> tuple[int, pl.DataFrame]:
    """Returns the newest timestamp of a release's dataset, and the ratings that are newer.

    Args:
        services: S3.
        release: the release.
        interactions: of the new dataset.
        settings: how many ratings are needed, and of how many users at most.

    Raises:
        UntestableError: there are too few, or nothing says what the release knew.
    """
    stats = features.read_stats(release.features_prefix, services.store)
    if stats is None:
        raise UntestableError("the features of its dataset were deleted")
    since = stats.last_timestamp
    newer = _sample(pl.scan_parquet(interactions).filter(pl.col("timestamp") > since), settings)
    if newer.height < settings.min_rows:
        raise UntestableError(
            f"{newer.height} newer ratings, fewer than the {settings.min_rows} that are needed"
        )
    return since, newer


def _sample(newer: pl.LazyFrame, settings: ForwardSettings) -> pl.DataFrame:
    """Returns the newer ratings of at most about ``max_users`` users, always the same ones."""
    users = newer.select(pl.col("userId").n_unique()).collect(engine="streaming").item()
    if users > settings.max_users:
        place: pl.Expr = place_of(pl.col("userId").cast(pl.UInt64))
        newer = newer.filter(place < int(settings.max_users / users * HASHES))
    columns = (*PAIR, "rating", "timestamp")
    return newer.select(*columns).collect(engine="streaming")
