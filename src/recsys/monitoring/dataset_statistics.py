"""Statistics of a release's dataset: rows, quarantine and drift, as a JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recsys import ledger
from recsys.database import Connection
from recsys.features import (
    DriftSettings,
    FileStats,
    Stats,
    find_drift_breaches,
    read_drift,
    read_stats,
)
from recsys.ledger import Release
from recsys.object_store import ObjectStore


def dataset_statistics(
    conn: Connection, store: ObjectStore, release: Release, settings: DriftSettings | None = None
) -> dict[str, Any] | None:
    """Returns rows, quarantine and drift of a release's dataset; None if its features are gone.

    ``drift`` compares it with the dataset of the champion that the gate compared the release with.
    It is None if there was no champion, or the datasets are the same.
    """
    stats = read_stats(release.features_prefix, store)
    if stats is None:
        return None
    champion_md5 = ledger.compared_dataset(conn, release.release_id)
    drift = None
    if champion_md5 is not None and champion_md5 != release.dataset_md5:
        drift = read_drift(release.features_prefix, champion_md5, store)
    statistics = summarize_stats(stats)
    statistics["drift"] = drift and {
        "champion_md5": drift.champion_md5,
        "measures": drift.measures(),
        "breaches": [
            b.model_dump() for b in find_drift_breaches(drift, settings or DriftSettings())
        ],
    }
    return statistics


def summarize_stats(stats: Stats) -> dict[str, Any]:
    """Returns the rows and the quarantine of a dataset."""
    return {
        "md5": stats.md5,
        "interactions": stats.interactions,
        "users": stats.users,
        "rated_movies": stats.rated_movies,
        "files": summarize_files(stats.files),
    }


def summarize_files(files: Mapping[str, FileStats]) -> dict[str, Any]:
    """Returns the rows of each file, and the rejected ones by rule."""
    return {
        file: {
            "rows": counts.rows,
            "quarantined": sum(counts.quarantine.values()),
            "quarantine": {
                rule.value: {"rows": rows, "share": counts.share(rows)}
                for rule, rows in counts.quarantine.items()
            },
        }
        for file, counts in files.items()
    }
