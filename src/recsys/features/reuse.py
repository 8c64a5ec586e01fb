"""Features that exist already, so that a build need not make them again."""

from __future__ import annotations

import logging
from typing import Final

from recsys import contract
from recsys.contract import FeatureSettings
from recsys.errors import ArtifactError
from recsys.features.quarantine import Examples, check_shares
from recsys.features.stats import Stats, read_stats
from recsys.object_store import ObjectStore

log = logging.getLogger(__name__)

FEATURE_FILES: Final = (contract.INTERACTIONS_FILE, contract.MOVIES_FILE, contract.QUARANTINE_FILE)


def find_features(md5: str, store: ObjectStore, settings: FeatureSettings) -> Stats | None:
    """Returns the statistics of the stored features of a dataset and settings; None if none.

    Earlier code stored the features of all settings below the same prefix, the dataset's. If those
    are of these settings, they are copied to their own prefix.

    Raises:
        DatasetError: more rows are invalid than ``settings`` tolerate.
    """
    stats = read_stats(settings.prefix(md5), store)
    if stats is None or not _is_of(stats, md5, settings):
        stats = _copy_earlier(md5, store, settings)
    if stats is not None:
        put_titles(store, stats)
        # A build with other tolerances may have made them.
        for file, counts in stats.files.items():
            check_shares(counts, settings, Examples(file))
    return stats


def put_titles(store: ObjectStore, stats: Stats) -> None:
    """Stores the movies where sites find them, unless they are there already."""
    source = store.head(contract.features_key(stats.prefix, contract.MOVIES_FILE))
    target = store.head(contract.titles_key(stats.md5))
    if source is not None and (target is None or target.metadata != source.metadata):
        store.copy(source.key, contract.titles_key(stats.md5), source.metadata)


def _is_of(stats: Stats, md5: str, settings: FeatureSettings) -> bool:
    return (stats.md5, stats.settings.fingerprint) == (md5, settings.fingerprint)


def _copy_earlier(md5: str, store: ObjectStore, settings: FeatureSettings) -> Stats | None:
    source = contract.dataset_features_prefix(md5)
    stats = read_stats(source, store)
    if stats is None or not _is_of(stats, md5, settings):
        return None
    try:
        for name in (*FEATURE_FILES, contract.MOVIE_VECTORS_FILE):
            key = contract.features_key(source, name)
            stored = store.head(key)
            if stored is None and name == contract.MOVIE_VECTORS_FILE:
                continue
            metadata = stored.metadata if stored else {}
            store.copy(key, contract.features_key(stats.prefix, name), metadata)
    except ArtifactError as error:
        log.info("the features of earlier code are not copied: %s", error)
        return None
    store.put_bytes(contract.features_key(stats.prefix, contract.STATS_FILE), stats.to_json())
    log.info("copied the features of earlier code from %s to %s", source, stats.prefix)
    return stats
