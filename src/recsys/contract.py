"""All that two images share: release ids, keys, tables, the manifest, the trainer's environment.

The pipeline and the trainer are built apart and meet only here, in S3, and in exit codes.
Nothing in this module does I/O.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

MANIFEST_SCHEMA: Final = 1
FEATURES_REVISION: Final = 3
"""Raise it when the same dataset and settings would give other interactions or vectors."""

PUBLIC_MODEL_KEY: Final = "latest_model.keras"
PUBLIC_POINTER_KEY: Final = "latest.json"
RELEASE_ID_TAG: Final = "release-id"
"""S3 user metadata of the public model: the release that it is a copy of."""

LEDGER_SCHEMA: Final = "recsys"

Md5 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ReleaseId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{8}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]

_RELEASE_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{8}")
_MD5 = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PublicTable(_Frozen):
    """A table that the site reads; its columns and dimension never change without a migration."""

    name: str
    id_column: str
    metric: Literal["cosine", "inner_product"]
    artifact: str | None
    """Name of the release's artifact that the vectors come from; None: made by the pipeline."""
    indexed: bool = True
    """Whether an HNSW index serves nearest-neighbour queries; else rows are only read by id."""
    extra_columns: tuple[tuple[str, str], ...] = ()
    """Further columns after the id and ``vector``: (name, SQL type)."""


PUBLIC_TABLES: Final = (
    PublicTable(name="movie_vectors", id_column="movieid", metric="cosine", artifact=None),
    PublicTable(
        name="user_towers",
        id_column="userid",
        metric="inner_product",
        artifact="towers/user_towers.parquet",
        indexed=False,
        # What a user has rated, newest first: recommendations leave it out.
        extra_columns=(("seen", "integer[]"),),
    ),
    PublicTable(
        name="movie_towers",
        id_column="movieid",
        metric="inner_product",
        artifact="towers/movie_towers.parquet",
    ),
)
MOVIE_VECTOR_DIM: Final = 128
TOWER_DIM: Final = 64


class Build(_Frozen):
    """What a release is made of: the same build always gives the same release id.

    Args:
        dataset_md5: md5 of the dataset's zip.
        trainer_digest: digest of the trainer image (or of the trainer's sources on one machine).
        settings: the settings that change the outcome, as plain JSON values.
    """

    dataset_md5: Md5
    trainer_digest: Digest
    settings: dict[str, Any]

    @field_validator("settings")
    @classmethod
    def _is_json(cls, settings: dict[str, Any]) -> dict[str, Any]:
        # Serialized leniently, NaN and infinity become null: the fingerprint of another build.
        try:
            json.dumps(settings, allow_nan=False)
        except TypeError as error:
            raise ValueError(str(error)) from error
        return settings

    @property
    def fingerprint(self) -> str:
        """sha256 (64 hex digits) of the build as canonical JSON."""
        canonical = json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False
        )
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def release_id(self) -> str:
        """``<first 8 of dataset md5>-<first 8 of fingerprint>``."""
        return f"{self.dataset_md5[:8]}-{self.fingerprint[:8]}"


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
        raise ValueError(f"not a name of a stored file: {name[:80]!r}")
    return name


def dataset_key(md5: str, name: str) -> str:
    """S3 key of a raw file of a dataset, e.g. ``datasets/<md5>/dataset.zip``."""
    return f"datasets/{check_md5(md5)}/{_check_name(name)}"


def features_key(md5: str, name: str) -> str:
    """S3 key of a file made from a dataset, e.g. ``features/<md5>/interactions.parquet``."""
    return f"features/{check_md5(md5)}/{_check_name(name)}"


def release_prefix(release_id: str) -> str:
    """Prefix of all objects of a release, ending in a slash."""
    return f"releases/{check_release_id(release_id)}/"


def release_key(release_id: str, name: str) -> str:
    """S3 key of an artifact of a release, e.g. ``releases/<id>/model.keras``."""
    return release_prefix(release_id) + _check_name(name)


def table_name(table: str, release_id: str) -> str:
    """Name in the schema ``recsys`` of a release's own table, e.g. ``movie_vectors_<id>``.

    The dash of the release id becomes an underscore, so the name needs no quotes in SQL.
    """
    if table not in {t.name for t in PUBLIC_TABLES}:
        raise ValueError(f"not a public table: {table[:40]!r}")
    return f"{table}_{check_release_id(release_id).replace('-', '_')}"


DATASET_FILE: Final = "dataset.zip"

INTERACTIONS_FILE: Final = "interactions.parquet"
"""Columns: userId int32, movieId int32, rating float32 (stars), timestamp int64 (s since 1970,
UTC), split (categorical: ``train`` or ``holdout``). Sorted by (userId, timestamp, movieId)."""
MOVIES_FILE: Final = "movies.parquet"
"""Columns: movieId int32, title str, year int16 (null when unknown), genres list[str]."""
QUARANTINE_FILE: Final = "quarantine.parquet"
STATS_FILE: Final = "stats.json"
"""Written last: features without it do not exist."""
MOVIE_VECTORS_FILE: Final = "movie_vectors.parquet"
"""Like every parquet of vectors: id int32 (unique), vector array[float32, dim]; the user towers
have ``seen`` list[int32] besides."""

MODEL_FILE: Final = "model.keras"
MANIFEST_FILE: Final = "manifest.json"
METRICS_FILE: Final = "metrics.json"
HISTORY_FILE: Final = "training_history.json"
HOLDOUT_PREDICTIONS_FILE: Final = "holdout_predictions.parquet"
"""Columns: userId int32, movieId int32, rating float32, prediction float32 (stars)."""
HOLDOUT_RECOMMENDATIONS_FILE: Final = "holdout_recommendations.parquet"
"""Columns: userId int32, rank int16 (1 is best), movieId int32, score float32; the best 100 movies
that the user has not rated in the training part, for every user of the holdout."""
GOLDEN_FILE: Final = "golden_predictions.json"
TRAINER_LOG_FILE: Final = "trainer.log"
REPORT_FILE: Final = "report.html"
"""Beside a release's artifacts but none of them: made after the decision, anew at will."""
LINEAGE_FILE: Final = "lineage.json"
"""Beside the artifacts of a training without a store; a release's lineage is in its manifest."""

EVALUATED_MODEL_FILE: Final = "evaluated/model.keras"
"""The model that the metrics are of, fitted to the training part alone: a later run asks it, as
champion, about its own holdout. Releases of an older trainer have none."""
EVALUATED_USER_TOWERS_FILE: Final = "evaluated/user_towers.parquet"
"""Like ``towers/user_towers.parquet``; ``seen`` is the user's training part."""
EVALUATED_MOVIE_TOWERS_FILE: Final = "evaluated/movie_towers.parquet"

MIN_STARS: Final = 0.5
MAX_STARS: Final = 5.0
GOLDEN_TOLERANCE: Final = 1e-3
"""Stars by which a golden prediction may differ in another process on another machine."""


class Artifact(_Frozen):
    """One stored file of a release."""

    name: str
    key: str
    sha256: Sha256
    size: int = Field(ge=0, description="bytes")


class Dims(_Frozen):
    """Dimension of each kind of vector of a release."""

    movie_vectors: int = Field(gt=0)
    towers: int = Field(gt=0)


class Serving(_Frozen):
    """How the artifacts for serving were brought up to date with all interactions."""

    method: Literal["refit", "fold_in"]
    interactions: int = Field(gt=0, description="rows that the served model knows")
    shift_rmse: float = Field(
        ge=0, description="stars between evaluated and served predictions on the holdout's pairs"
    )


class Manifest(_Frozen):
    """A release's ``manifest.json``: written once, last; a release without one does not exist.

    Raises:
        pydantic.ValidationError: a field is missing, unknown or contradicts another.
    """

    manifest_schema: Literal[1] = MANIFEST_SCHEMA
    release_id: ReleaseId
    build: Build
    fingerprint: Sha256
    run_nonce: str = Field(min_length=8, max_length=64, pattern=r"^[0-9A-Za-z-]+$")
    artifacts: tuple[Artifact, ...]
    dims: Dims
    serving: Serving
    metrics: dict[str, Any]
    lineage: dict[str, Any] = Field(
        description="versions, seeds, code revision, hardware, row counts"
    )
    created_at: datetime

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Manifest:
        if self.build.release_id != self.release_id:
            raise ValueError(f"release_id {self.release_id} is not its build's")
        if self.build.fingerprint != self.fingerprint:
            raise ValueError("fingerprint is not its build's")
        names = [a.name for a in self.artifacts]
        if len(set(names)) != len(names):
            raise ValueError("an artifact is listed twice")
        for artifact in self.artifacts:
            if artifact.key != release_key(self.release_id, artifact.name):
                raise ValueError(f"key of {artifact.name} lies outside the release")
        missing = REQUIRED_ARTIFACTS - set(names)
        if missing:
            raise ValueError(f"artifacts missing: {', '.join(sorted(missing))}")
        return self

    def artifact(self, name: str) -> Artifact:
        """The artifact called ``name``; KeyError if there is none."""
        for artifact in self.artifacts:
            if artifact.name == name:
                return artifact
        raise KeyError(name)

    def to_json(self) -> bytes:
        """The manifest as it is stored, UTF-8."""
        return self.model_dump_json(indent=2).encode()

    @classmethod
    def from_json(cls, data: bytes | str) -> Manifest:
        """Reads a stored manifest; raises pydantic.ValidationError if it is not one."""
        return cls.model_validate_json(data)


REQUIRED_ARTIFACTS: Final = frozenset(
    {
        MODEL_FILE,
        METRICS_FILE,
        HISTORY_FILE,
        HOLDOUT_PREDICTIONS_FILE,
        HOLDOUT_RECOMMENDATIONS_FILE,
        GOLDEN_FILE,
        *(t.artifact for t in PUBLIC_TABLES if t.artifact),
    }
)


class GoldenPredictions(_Frozen):
    """Inputs and the stars that the stored model gave for them, known and unknown ids alike."""

    user_ids: list[int] = Field(min_length=1)
    movie_ids: list[int] = Field(min_length=1)
    stars: list[float] = Field(min_length=1)
    keras_version: str

    @model_validator(mode="after")
    def _same_length(self) -> GoldenPredictions:
        if not len(self.user_ids) == len(self.movie_ids) == len(self.stars):
            raise ValueError("user_ids, movie_ids and stars differ in length")
        return self


class ExitCode(IntEnum):
    """How the trainer ends; the numbers follow sysexits.h where it has one."""

    OK = 0
    BAD_DATA = 65
    """Permanent: the interactions cannot be trained on."""
    INTERNAL = 70
    """Permanent: a defect of the trainer."""
    UNAVAILABLE = 75
    """Transient: S3 does not answer, disk is full."""
    BAD_CONFIG = 78
    """Permanent: a setting is missing or makes no sense."""
    TERMINATED = 143
    """Transient: SIGTERM; no manifest was written."""

    @property
    def is_transient(self) -> bool:
        """Whether another try may succeed."""
        return self in (ExitCode.UNAVAILABLE, ExitCode.TERMINATED)


def exit_is_transient(code: int) -> bool:
    """Whether a process that ended with ``code`` is worth another try.

    Death by a signal (negative, or 128 + n as shells and Kubernetes say it: out of memory, a
    lost node) is transient; a code that is not in the contract is a defect, thus permanent.
    """
    if code < 0 or code > 128:
        return True
    try:
        return ExitCode(code).is_transient
    except ValueError:
        return False


class TrainerInput(_Frozen):
    """What the trainer is told, through environment variables only; secrets travel apart.

    The S3 credentials are ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``, given by
    reference (a Kubernetes secret, a connection), never through this class.
    """

    build: Build
    run_nonce: str = Field(min_length=8, max_length=64, pattern=r"^[0-9A-Za-z-]+$")
    s3_bucket: str = Field(min_length=3)
    s3_endpoint: str | None = None
    s3_region: str = "us-east-1"
    xcom_dir: str = "/airflow/xcom"
    champion: ReleaseId | None = None
    """Asked about the candidate's holdout, for comparison; it changes nothing that is made."""

    @property
    def release_id(self) -> str:
        """The release that the trainer is to make."""
        return self.build.release_id

    def to_environment(self) -> dict[str, str]:
        """Environment variables that say the same; ``from_environment`` reads them back."""
        variables = {
            ENV_BUILD: self.build.model_dump_json(),
            ENV_RELEASE_ID: self.release_id,
            ENV_RUN_NONCE: self.run_nonce,
            ENV_S3_BUCKET: self.s3_bucket,
            ENV_S3_REGION: self.s3_region,
            ENV_XCOM_DIR: self.xcom_dir,
        }
        if self.s3_endpoint:
            variables[ENV_S3_ENDPOINT] = self.s3_endpoint
        if self.champion:
            variables[ENV_CHAMPION] = self.champion
        return variables

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> TrainerInput:
        """Reads what ``to_environment`` wrote.

        Raises:
            KeyError: a variable is missing.
            ValueError: a variable has no valid value, or the release id is not the build's.
        """
        parsed = cls(
            build=Build.model_validate_json(environ[ENV_BUILD]),
            run_nonce=environ[ENV_RUN_NONCE],
            s3_bucket=environ[ENV_S3_BUCKET],
            s3_endpoint=environ.get(ENV_S3_ENDPOINT) or None,
            s3_region=environ.get(ENV_S3_REGION, "us-east-1"),
            xcom_dir=environ.get(ENV_XCOM_DIR, "/airflow/xcom"),
            champion=environ.get(ENV_CHAMPION) or None,
        )
        if environ[ENV_RELEASE_ID] != parsed.release_id:
            raise ValueError(f"{ENV_RELEASE_ID} is not the release id of {ENV_BUILD}")
        return parsed


ENV_BUILD: Final = "RECSYS_BUILD"
ENV_RELEASE_ID: Final = "RECSYS_RELEASE_ID"
ENV_RUN_NONCE: Final = "RECSYS_RUN_NONCE"
ENV_S3_BUCKET: Final = "RECSYS_S3_BUCKET"
ENV_S3_ENDPOINT: Final = "RECSYS_S3_ENDPOINT"
ENV_S3_REGION: Final = "RECSYS_S3_REGION"
ENV_XCOM_DIR: Final = "RECSYS_XCOM_DIR"
ENV_CHAMPION: Final = "RECSYS_CHAMPION"
ENV_SITE_KERAS: Final = "RECSYS_SITE_KERAS"
"""The Keras that the site has, e.g. 3.15.0: a trainer with a newer one refuses to train."""
ENV_WORKERS: Final = "RECSYS_WORKERS"
"""How many pods of an Indexed Job train together; absent: one trains alone."""
ENV_WORKER_SERVICE: Final = "RECSYS_WORKER_SERVICE"
"""The headless service by which they find each other."""
SECRET_ENV: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
