"""The manifest of a release and the records that it refers to."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

from pydantic import (
    Field,
    model_validator,
)

from recsys.contract.build import Build
from recsys.contract.keys import (
    EVALUATED_MODEL_FILE,
    EVALUATED_MOVIE_TOWERS_FILE,
    EVALUATED_USER_TOWERS_FILE,
    GOLDEN_FILE,
    GOLDEN_RECOMMENDATIONS_FILE,
    HISTORY_FILE,
    HOLDOUT_PREDICTIONS_FILE,
    HOLDOUT_RECOMMENDATIONS_FILE,
    MANIFEST_FILE,
    MEASURED_FILE,
    METRICS_FILE,
    MODEL_FILE,
    NONCE_PATTERN,
    PROVENANCE_FILE,
    REPORT_FILE,
    SIGNATURE_FILE,
    TRAINER_LOG_FILE,
    FrozenModel,
    ReleaseId,
    Sha256,
    release_key,
)
from recsys.contract.metrics import Metrics
from recsys.contract.tables import PUBLIC_TABLES
from recsys.errors import ArtifactError

MANIFEST_SCHEMA: Final = 1
RequiredBackend = Literal["any", "tensorflow"]
GOLDEN_TOLERANCE: Final = 1e-3
"""Stars by which a golden prediction may differ in another process on another machine."""
EVALUATED_FILES: Final = (
    EVALUATED_MODEL_FILE,
    EVALUATED_USER_TOWERS_FILE,
    EVALUATED_MOVIE_TOWERS_FILE,
)
"""Artifacts that a later candidate is compared with; releases of older trainers lack them."""
RESERVED_FILES: Final = frozenset(
    {
        MANIFEST_FILE,
        MEASURED_FILE,
        PROVENANCE_FILE,
        REPORT_FILE,
        SIGNATURE_FILE,
        TRAINER_LOG_FILE,
    }
)
"""Files of a release that are no artifacts. People read the report in Airflow's UI."""


class Artifact(FrozenModel):
    """One stored file of a release."""

    name: str
    key: str
    sha256: Sha256
    size: int = Field(ge=0, description="bytes")


class Dims(FrozenModel):
    """Dimension of each kind of vector of a release."""

    movie_vectors: int = Field(gt=0)
    towers: int = Field(gt=0)


class Serving(FrozenModel):
    """How the served artifacts were fitted to all interactions, the holdout included."""

    method: Literal["refit", "fold_in"]
    interactions: int = Field(gt=0, description="rows that the served model was fitted to")
    shift_rmse: float = Field(
        ge=0,
        description="RMS difference, in the dataset's scale, of evaluated and served predictions "
        "on the holdout",
    )
    rmse: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="RMSE of the served model on the holdout, which it was fitted to; "
        "None in releases of contract 2, like the two numbers below",
    )
    users: int | None = Field(default=None, gt=0, description="rows of the served user towers")
    movies: int | None = Field(default=None, gt=0, description="rows of the served movie towers")


class Manifest(FrozenModel):
    """A release's ``manifest.json``. It is written once, after all artifacts.

    The trainer writes it and the artifacts to its inbox. The keys are those of the release, to
    which the pipeline copies them.

    A release without a manifest is incomplete and is never used.

    Raises:
        pydantic.ValidationError: a field is missing, unknown or contradicts another.
    """

    manifest_schema: Literal[1] = MANIFEST_SCHEMA
    release_id: ReleaseId
    build: Build
    fingerprint: Sha256
    run_nonce: str = Field(min_length=8, max_length=64, pattern=NONCE_PATTERN)
    artifacts: tuple[Artifact, ...]
    dims: Dims
    serving: Serving
    metrics: Metrics
    requires_backend: RequiredBackend = Field(
        "tensorflow",
        description="backend of Keras that loads the model; releases of contract 2 need TensorFlow",
    )
    lineage: dict[str, Any] = Field(
        description="versions, seeds, code revision, hardware, row counts"
    )
    created_at: datetime

    @model_validator(mode="after")
    def _is_consistent(self) -> Manifest:
        if self.build.release_id != self.release_id:
            raise ValueError(
                f"release_id: found {self.release_id}, expected {self.build.release_id} "
                "as computed from build"
            )
        if self.build.fingerprint != self.fingerprint:
            raise ValueError(
                f"fingerprint: found {self.fingerprint}, expected {self.build.fingerprint} "
                "as computed from build"
            )
        names = [a.name for a in self.artifacts]
        if len(set(names)) != len(names):
            raise ValueError("an artifact is listed twice")
        reserved = RESERVED_FILES & set(names)
        if reserved:
            raise ValueError(f"not artifacts: {', '.join(sorted(reserved))}")
        for artifact in self.artifacts:
            if artifact.key != release_key(self.release_id, artifact.name):
                raise ValueError(
                    f"key of {artifact.name}: found {artifact.key}, expected "
                    f"{release_key(self.release_id, artifact.name)}"
                )
        missing = REQUIRED_ARTIFACTS - set(names)
        if missing:
            raise ValueError(f"artifacts missing: {', '.join(sorted(missing))}")
        return self

    def artifact(self, name: str) -> Artifact:
        """Returns the artifact called ``name``; raises KeyError if there is none."""
        for artifact in self.artifacts:
            if artifact.name == name:
                return artifact
        raise KeyError(name)

    def evaluated_artifacts(self) -> tuple[Artifact, ...]:
        """Returns the artifacts that a later candidate is compared with.

        Raises:
            ArtifactError: the release was made by an older trainer and lacks one of them.
        """
        missing = set(EVALUATED_FILES) - {artifact.name for artifact in self.artifacts}
        if missing:
            raise ArtifactError(
                f"no comparison with release {self.release_id}: it was made by an older trainer",
                found=f"no {', '.join(sorted(missing))}",
                expected=", ".join(EVALUATED_FILES),
            )
        return tuple(self.artifact(name) for name in EVALUATED_FILES)

    def to_json(self) -> bytes:
        """Returns the manifest as it is stored, UTF-8."""
        return self.model_dump_json(indent=2).encode()

    @classmethod
    def from_json(cls, data: bytes | str, *, strict: bool | None = None) -> Manifest:
        """Reads a stored manifest; raises pydantic.ValidationError if it is not one.

        Args:
            data: the document.
            strict: whether a number in quotes is an error, as in that of a new candidate.
        """
        return cls.model_validate_json(data, strict=strict)


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


CANDIDATE_ARTIFACTS: Final = REQUIRED_ARTIFACTS | {GOLDEN_RECOMMENDATIONS_FILE, *EVALUATED_FILES}
"""Artifacts of a candidate of contract 3; an earlier release need not have all of them."""


def check_candidate_artifacts(manifest: Manifest) -> None:
    """Raises ArtifactError if a candidate lacks what the gate compares the served tables with."""
    missing = CANDIDATE_ARTIFACTS - {artifact.name for artifact in manifest.artifacts}
    if missing or manifest.serving.users is None or manifest.serving.movies is None:
        raise ArtifactError(
            f"the candidate of release {manifest.release_id} is not complete",
            found=f"no {', '.join(sorted(missing) or ['serving.users or serving.movies'])}",
            expected="the artifacts and numbers of contract 3",
            hint="use the trainer's image of the same edition as the pipeline",
        )


def check_manifest(
    manifest: Manifest, *, release_id: str, fingerprint: str, run_nonce: str
) -> None:
    """Raises ArtifactError unless a manifest belongs to this release, this build and this run."""
    for name, found, expected in (
        ("release id", manifest.release_id, release_id),
        ("build fingerprint", manifest.fingerprint, fingerprint),
        ("run nonce", manifest.run_nonce, run_nonce),
    ):
        if found != expected:
            raise ArtifactError(
                f"the manifest of release {release_id} has another {name}",
                found=found,
                expected=expected,
                hint="another run wrote it: clear train_dl_model to train again",
            )


class GoldenPredictions(FrozenModel):
    """Pairs of known and unknown ids, with the stars that the stored model predicts for them."""

    user_ids: list[int] = Field(min_length=1)
    movie_ids: list[int] = Field(min_length=1)
    stars: list[float] = Field(min_length=1)
    keras_version: str

    @model_validator(mode="after")
    def _same_length(self) -> GoldenPredictions:
        if not len(self.user_ids) == len(self.movie_ids) == len(self.stars):
            raise ValueError("user_ids, movie_ids and stars differ in length")
        return self
