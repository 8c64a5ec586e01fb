"""Groups of objects in the bucket: what belongs to one dataset, its features, or one release."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from recsys.contract.keys import (
    DATASET_FILE,
    FORWARD_FOLDER,
    INTERACTIONS_FILE,
    MANIFEST_FILE,
    MEASURED_FILE,
    MOVIE_VECTORS_FILE,
    MOVIES_FILE,
    QUARANTINE_FILE,
    REPORT_FILE,
    STATS_FILE,
    TRAINER_LOG_FILE,
)
from recsys.contract.manifest import CANDIDATE_ARTIFACTS

GROUP_PREFIXES: Final = ("datasets/", "features/", "incoming/", "releases/")
"""Prefixes of all groups."""
_ID: Final = "[0-9a-f]{8}-[0-9a-f]{8}"
_MD5: Final = "[0-9a-f]{32}"
_GROUP: Final = re.compile(
    rf"(?:datasets/(?P<dataset>{_MD5})/"
    rf"|features/(?P<titles>{_MD5})/{re.escape(MOVIES_FILE)}$"
    rf"|features/(?P<features>{_MD5})/(?:[0-9a-f]{{16}}/)?"
    rf"|(?:releases/|incoming/)(?P<release>{_ID})/)"
)
_FEATURE_NAMES: Final = frozenset(
    {INTERACTIONS_FILE, MOVIES_FILE, QUARANTINE_FILE, STATS_FILE, MOVIE_VECTORS_FILE}
)
_EXCHANGED: Final = re.compile(rf"drift/{_MD5}\.json|forward/{_ID}\.parquet|spark/{_MD5}/.+")
_RELEASE_NAMES: Final = CANDIDATE_ARTIFACTS | {
    MANIFEST_FILE,
    MEASURED_FILE,
    REPORT_FILE,
    TRAINER_LOG_FILE,
}
_CHECKPOINT: Final = re.compile(r"_?checkpoints/\w+\.npz")
"""Below the release (earlier code), or below its inbox."""
_FORWARD: Final = re.compile(rf"{FORWARD_FOLDER}{_ID}\.parquet")
"""Below the inbox of a run."""


@dataclass(frozen=True)
class KeyGroup:
    """The group that a key belongs to; exactly one of md5 and release id is set.

    Attributes:
        prefix: prefix of the group; of titles, which are one object, the key.
        dataset_md5: of the dataset that it was made from.
        release_id: of the release.
        is_features: whether the prefix is one that the ledger records for releases.
        has_known_name: whether this project gives objects such a name. Below the id of a release,
            earlier or later code may also give others.
    """

    prefix: str
    dataset_md5: str | None
    release_id: str | None
    is_features: bool
    has_known_name: bool


def key_group(key: str) -> KeyGroup | None:
    """Returns the group of a key; None if it does not have the form of this project's keys."""
    match = _GROUP.match(key)
    if match is None:
        return None
    name = key.removeprefix(match[0])
    if match["dataset"]:
        known = name == DATASET_FILE
    elif match["features"]:
        known = name in _FEATURE_NAMES or _EXCHANGED.fullmatch(name) is not None
    elif match["titles"]:
        known = True
    else:
        in_inbox = match[0].startswith("incoming/")
        of_run = name.partition("/")[2] if in_inbox else name
        known = (
            of_run in _RELEASE_NAMES
            or _CHECKPOINT.fullmatch(name) is not None
            or (in_inbox and _FORWARD.fullmatch(of_run) is not None)
        )
    return KeyGroup(
        prefix=match[0],
        dataset_md5=match["dataset"] or match["titles"] or match["features"],
        release_id=match["release"],
        is_features=match["features"] is not None,
        has_known_name=known,
    )
