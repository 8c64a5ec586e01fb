"""Names in the object store: release ids, keys of objects, and columns of stored files.

Where a column of ids is said to be int32, it is int64 in files of a dataset whose ids have 64 bits
(`recsys.contract.FeatureSettings.id_bits`): in all of its files, or in none.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    StringConstraints,
)

PUBLIC_MODEL_KEY: Final = "latest_model.keras"
PUBLIC_POINTER_KEY: Final = "latest.json"
OWNER_KEY: Final = "owner.json"
"""Names the ledger that this bucket belongs to: ``{"ledger_id": UUID}``."""
RELEASES_PREFIX: Final = "releases/"
DATASETS_PREFIX: Final = "datasets/"
FEATURES_PREFIX: Final = "features/"
INBOX_PREFIX: Final = "incoming/"
"""The only prefix that the trainer writes to; the pipeline moves what it has checked to
`RELEASES_PREFIX`."""
STAGING_PREFIX: Final = "publishing/"
"""Sources of copies to the public keys. The next process that takes the promotion lock first
deletes them, so that a delayed copy fails."""
SEALS_PREFIX: Final = "seals/"
"""Keys of the measurements that are awaited. No account but the pipeline's may read them."""
ERASURES_PREFIX: Final = "erasures/"
"""Certificates of erasures: what was searched, and that no trace was found."""
RELEASE_ID_TAG: Final = "release-id"
"""Name of the public model's S3 user metadata with the id of its release."""
Md5 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ReleaseId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{8}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
NONCE_PATTERN: Final = r"^[0-9A-Za-z-]+$"
_RELEASE_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{8}")
_MD5 = re.compile(r"[0-9a-f]{32}")
_FEATURES_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_FEATURES_PREFIX = re.compile(r"features/[0-9a-f]{32}/([0-9a-f]{16}/)?")
_NONCE = re.compile(NONCE_PATTERN)
_RESERVED: Final = frozenset(
    prefix.removesuffix("/")
    for prefix in (
        *(RELEASES_PREFIX, DATASETS_PREFIX, FEATURES_PREFIX),
        *(INBOX_PREFIX, STAGING_PREFIX, SEALS_PREFIX, ERASURES_PREFIX),
    )
)
_KEY_PREFIX = re.compile(r"([a-z0-9][a-z0-9_-]{0,62}/){0,4}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


class FrozenModel(BaseModel):
    """A pydantic model that is immutable and rejects unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def check_release_id(text: str) -> str:
    """Returns ``text`` if it has the form of a release id, else raises ValueError."""
    if not _RELEASE_ID.fullmatch(text):
        raise ValueError(
            f"not a release id: found {text[:40]!r}, expected 8 hex digits, '-', 8 hex digits"
        )
    return text


def check_md5(text: str) -> str:
    """Returns ``text`` if it is 32 lower-case hex digits, else raises ValueError."""
    if not _MD5.fullmatch(text):
        raise ValueError(f"not an md5: found {text[:40]!r}, expected 32 lower-case hex digits")
    return text


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"not the name of a stored file: {name[:80]!r}")
    return name


def check_key_prefix(text: str) -> str:
    """Returns the prefix of a recommender's keys in its bucket, with a slash at its end.

    All other keys of this module are relative to it. A recommender with a prefix cannot touch one
    that has none: a part of the prefix may not be named like a group of objects.

    Args:
        text: "" for a recommender that has the bucket to itself, else for example ``books``.

    Raises:
        ValueError: it has another form.
    """
    prefix = f"{text}/" if text and not text.endswith("/") else text
    if not _KEY_PREFIX.fullmatch(prefix) or _RESERVED & set(prefix.split("/")):
        raise ValueError(
            f"not a prefix of keys: found {text[:80]!r}, expected lower-case letters, digits, "
            f"- and _, for example books/; {', '.join(sorted(_RESERVED))} are reserved"
        )
    return prefix


def dataset_prefix(md5: str) -> str:
    """Prefix of the raw files of a dataset, ending in a slash."""
    return f"{DATASETS_PREFIX}{check_md5(md5)}/"


def dataset_key(md5: str, name: str) -> str:
    """S3 key of a raw file of a dataset, e.g. ``datasets/<md5>/dataset.zip``."""
    return dataset_prefix(md5) + _check_name(name)


def dataset_features_prefix(md5: str) -> str:
    """Prefix of all objects made from a dataset with any settings, ending in a slash.

    Releases that were made before features had a fingerprint have theirs directly below it.
    """
    return f"{FEATURES_PREFIX}{check_md5(md5)}/"


def titles_key(md5: str) -> str:
    """S3 key of the movies of a dataset, which sites read; no setting changes them."""
    return dataset_features_prefix(md5) + MOVIES_FILE


def features_prefix(md5: str, fingerprint: str) -> str:
    """Prefix of the features of a dataset that were made with some settings, ending in a slash.

    Args:
        md5: the dataset.
        fingerprint: `FeatureSettings.fingerprint`.
    """
    if not _FEATURES_FINGERPRINT.fullmatch(fingerprint):
        raise ValueError(f"not a fingerprint of features: {fingerprint[:40]!r}")
    return f"{dataset_features_prefix(md5)}{fingerprint}/"


def check_features_prefix(text: str) -> str:
    """Returns ``text`` if it is a prefix of features of either form, else raises ValueError."""
    if not _FEATURES_PREFIX.fullmatch(text):
        raise ValueError(
            f"not a prefix of features: found {text[:80]!r}, "
            "expected features/<md5>/<fingerprint>/ or features/<md5>/"
        )
    return text


def prefix_of_features(key: str) -> str | None:
    """Returns the prefix of the features that a key belongs to; None if it has another form."""
    match = _FEATURES_PREFIX.match(key)
    return match[0] if match else None


def features_key(prefix: str, name: str) -> str:
    """S3 key of one file of features, e.g. ``features/<md5>/<fingerprint>/movies.parquet``.

    Args:
        prefix: `Build.features_prefix`, or the one that the ledger records for a release.
        name: name of the file.
    """
    return check_features_prefix(prefix) + _check_name(name)


def drift_key(prefix: str, champion_md5: str) -> str:
    """S3 key of the drift of features from the champion's dataset, ``.../drift/<md5>.json``."""
    return f"{check_features_prefix(prefix)}drift/{check_md5(champion_md5)}.json"


def forward_pairs_key(prefix: str, release_id: str) -> str:
    """S3 key of the newer ratings whose stars a served release is asked for, in a forward test.

    Args:
        prefix: of the features of the newer dataset.
        release_id: the served release.
    """
    return f"{check_features_prefix(prefix)}forward/{check_release_id(release_id)}.parquet"


def spark_prefix(prefix: str) -> str:
    """Prefix of what Spark's driver and executors exchange, ending in a slash."""
    return check_features_prefix(prefix) + "spark/"


def release_prefix(release_id: str) -> str:
    """Prefix of all objects of a release, ending in a slash."""
    return f"{RELEASES_PREFIX}{check_release_id(release_id)}/"


def release_key(release_id: str, name: str) -> str:
    """S3 key of an artifact of a release, e.g. ``releases/<id>/model.keras``."""
    return release_prefix(release_id) + _check_name(name)


def release_inbox_prefix(release_id: str) -> str:
    """Prefix of all that trainers of a release write, ending in a slash."""
    return f"{INBOX_PREFIX}{check_release_id(release_id)}/"


def inbox_prefix(release_id: str, run_nonce: str) -> str:
    """Prefix of what the trainer of one run writes, ending in a slash."""
    if not _NONCE.fullmatch(run_nonce):
        raise ValueError(f"not the nonce of a run: {run_nonce[:80]!r}")
    return f"{release_inbox_prefix(release_id)}{run_nonce}/"


def inbox_key(release_id: str, run_nonce: str, name: str) -> str:
    """S3 key of a file of a candidate that is not verified yet."""
    return inbox_prefix(release_id, run_nonce) + _check_name(name)


def checkpoint_key(release_id: str, phase: str) -> str:
    """S3 key of the trainer's checkpoint of a phase, deleted when the training is complete.

    All runs of a build share it. The underscore keeps it apart from their nonces.
    """
    return release_inbox_prefix(release_id) + _check_name(f"_checkpoints/{phase}.npz")


def seal_key(release_id: str) -> str:
    """S3 key of the key with which the measurement of a release is sealed."""
    return SEALS_PREFIX + check_release_id(release_id)


def forward_seal_key(release_id: str) -> str:
    """S3 key of the key with which the stars of a forward test are sealed.

    Args:
        release_id: the candidate that the new dataset is for.
    """
    return f"{SEALS_PREFIX}forward-{check_release_id(release_id)}"


def forward_file(release_id: str) -> str:
    """Name, in the inbox of a run, of the stars that a served release predicts.

    Columns: userId int32, movieId int32, prediction float32 (stars).
    """
    return f"{FORWARD_FOLDER}{check_release_id(release_id)}.parquet"


def certificate_key(digest: str) -> str:
    """S3 key of the certificate of an erasure.

    Args:
        digest: of the list of erased users, 64 hex digits.
    """
    return ERASURES_PREFIX + _check_name(f"{digest}.json")


def staging_key(token: str) -> str:
    """S3 key of the source of one copy to a public key."""
    return STAGING_PREFIX + _check_name(token)


DATASET_FILE: Final = "dataset.zip"
INTERACTIONS_FILE: Final = "interactions.parquet"
"""Columns: userId int32, movieId int32, rating float32 (stars), timestamp int64 (s since 1970,
UTC), split (categorical: ``train``, ``holdout`` or ``later``; a model is evaluated after a fit to
``train`` alone). Sorted by (userId, timestamp, movieId)."""
MOVIES_FILE: Final = "movies.parquet"
"""Columns: movieId int32, title str, year int16 (null when unknown), genres list[str]."""
QUARANTINE_FILE: Final = "quarantine.parquet"
STATS_FILE: Final = "stats.json"
"""Written last: features without it are incomplete and not used."""
MOVIE_VECTORS_FILE: Final = "movie_vectors.parquet"
"""Columns, as in every parquet file of vectors: id int32 (unique), vector array[float32, dim]; user
towers also have ``seen`` list[int32]."""
USER_TOWERS_FILE: Final = "towers/user_towers.parquet"
MOVIE_TOWERS_FILE: Final = "towers/movie_towers.parquet"
MODEL_FILE: Final = "model.keras"
MANIFEST_FILE: Final = "manifest.json"
METRICS_FILE: Final = "metrics.json"
HISTORY_FILE: Final = "training_history.json"
HOLDOUT_PREDICTIONS_FILE: Final = "holdout_predictions.parquet"
"""Columns: userId int32, movieId int32, rating float32, prediction float32 (stars)."""
HOLDOUT_RECOMMENDATIONS_FILE: Final = "holdout_recommendations.parquet"
"""Columns: userId int32, rank int16 (1 is best), movieId int32, score float32; the best 100 movies
that the user has not rated in the training part, for every user of the holdout, or for a sample of
20,000 if there are more (`recsys.evaluation.sample`)."""
GOLDEN_FILE: Final = "golden_predictions.json"
GOLDEN_RECOMMENDATIONS_FILE: Final = "golden_recommendations.json"
"""`GoldenRecommendations` of the served towers. Releases of contract 2 do not have it."""
TRAINER_LOG_FILE: Final = "trainer.log"
MEASURED_FILE: Final = "measured_metrics.json"
"""Written by the verifier to the run's inbox, sealed; the pipeline checks the seal and stores the
content with the release (`recsys.contract.MeasuredMetrics`). Not an artifact: the trainer may not
make it."""
FORWARD_FOLDER: Final = "forward/"
"""In the inbox of a run: the stars that the verifier predicts for the forward test, in a sealed
file for each served release (`forward_file`)."""
PROVENANCE_FILE: Final = "provenance.json"
"""In-toto statement of the pipeline: from which dataset, code and settings a release was made
(SLSA provenance, version 1)."""
SIGNATURE_FILE: Final = "model.sig"
"""Signature over manifest, artifacts, measurement and provenance, in the format of OpenSSF model
signing. Releases that were made without a signing key do not have it."""
REPORT_FILE: Final = "report.html"
"""Stored with a release but not an artifact: made after the decision, and again on request."""
LINEAGE_FILE: Final = "lineage.json"
"""Written by a local training; the lineage of a release is in its manifest."""
EVALUATED_MODEL_FILE: Final = "evaluated/model.keras"
"""The model that was evaluated, fitted to the training part only. When the release is the champion,
later runs evaluate this model on their own holdout. Releases of older trainers do not have it."""
EVALUATED_USER_TOWERS_FILE: Final = "evaluated/user_towers.parquet"
"""Like `USER_TOWERS_FILE`; ``seen`` is the user's training part."""
EVALUATED_MOVIE_TOWERS_FILE: Final = "evaluated/movie_towers.parquet"
