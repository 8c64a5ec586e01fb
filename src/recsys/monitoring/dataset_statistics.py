"""What validation and drift found about a release's dataset, as one plain document."""

from __future__ import annotations

from typing import Any

from recsys.contract import Md5
from recsys.database import Connection
from recsys.features import DriftSettings, Stats, find_drift_breaches, read_drift, read_stats
from recsys.ledger import Release
from recsys.object_store import ObjectStore


def dataset_statistics(
    conn: Connection, store: ObjectStore, release: Release, settings: DriftSettings | None = None
) -> dict[str, Any] | None:
    """Rows, quarantine and drift of a release's dataset; None if its features are gone.

    ``drift`` holds the dataset against that of the champion which the gate compared the release
    with; it is None where there is nothing to compare with.
    """
    stats = read_stats(release.dataset_md5, store)
    if stats is None:
        return None
    then = _champion_md5(conn, release)
    drift = None
    if then is not None and then != release.dataset_md5:
        drift = read_drift(release.dataset_md5, then, store)
    statistics = summarize_stats(stats)
    statistics["drift"] = drift and {
        "champion_md5": drift.champion_md5,
        "measures": drift.measures(),
        "breaches": [b.model_dump() for b in find_drift_breaches(drift, settings or DriftSettings())],
    }
    return statistics


def summarize_stats(stats: Stats) -> dict[str, Any]:
    """The rows and the quarantine of a dataset."""
    return {
        "md5": stats.md5,
        "interactions": stats.interactions,
        "users": stats.users,
        "rated_movies": stats.rated_movies,
        "files": {
            file: {
                "rows": found.rows,
                "quarantined": sum(found.quarantine.values()),
                "quarantine": {
                    rule.value: {"rows": count, "share": found.share(count)}
                    for rule, count in found.quarantine.items()
                },
            }
            for file, found in stats.files.items()
        },
    }


def _champion_md5(conn: Connection, release: Release) -> Md5 | None:
    """The dataset of the champion that the gate last held the release against."""
    row = conn.execute(
        "select c.dataset_md5 from recsys.decisions d left join recsys.releases c "
        "on c.release_id = d.champion where d.release_id = %s order by d.id desc limit 1",
        (release.release_id,),
    ).fetchone()
    return row[0] if row else None
