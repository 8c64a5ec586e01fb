"""What the verifier measured of a candidate: the content of ``measured_metrics.json``.

The verifier writes with the trainer's account, to the inbox. So that nobody else can have written
what the pipeline reads there, the pipeline gives a random key to the verifier only, which seals its
answer with it (HMAC-SHA256).
"""

from __future__ import annotations

import hmac
from typing import Final, Literal

from pydantic import AwareDatetime, Field, ValidationError

from recsys.contract.keys import FrozenModel, ReleaseId, Sha256
from recsys.contract.metrics import Metrics
from recsys.errors import ArtifactError, first_invalid_field

_NEWLINE: Final = b"\n"


class ServedScores(FrozenModel):
    """The served model on the holdout, which it was fitted to.

    Attributes:
        rmse: of its predictions, in the scale of the dataset.
        mae: of its predictions, in the scale of the dataset.
        shift_rmse: RMS difference from the evaluated model's predictions, in the same scale.
    """

    rmse: float = Field(ge=0, allow_inf_nan=False)
    mae: float = Field(ge=0, allow_inf_nan=False)
    shift_rmse: float = Field(ge=0, allow_inf_nan=False)


class MeasuredMetrics(FrozenModel):
    """Measurement of a candidate by the verifier.

    Attributes:
        measured_schema: number of this layout.
        release_id: the candidate.
        manifest_sha256: of its manifest: the files that were measured.
        champion: the release that it was compared with; None without one.
        interactions: rows of the dataset.
        metrics: of the evaluated model and towers on the holdout.
        served: of the served model on the holdout.
        keras_version: that predicted.
        code_revision: of the verifier; "" if unknown.
        measured_at: when.
    """

    measured_schema: Literal[1] = 1
    release_id: ReleaseId
    manifest_sha256: Sha256
    champion: ReleaseId | None
    interactions: int = Field(gt=0)
    metrics: Metrics
    served: ServedScores
    keras_version: str = Field(max_length=80)
    code_revision: str = Field(default="", max_length=80)
    measured_at: AwareDatetime

    def to_json(self) -> bytes:
        """The measurement as it is stored, UTF-8."""
        return self.model_dump_json(indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> MeasuredMetrics:
        """Reads a stored measurement.

        Raises:
            ArtifactError: it does not have this schema.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise ArtifactError(
                "the measurement of the release cannot be read",
                found=str(first_invalid_field(error)),
                hint="clear verify_candidate to measure again",
            ) from error


def seal(data: bytes, key: str, about: str = "") -> bytes:
    """Returns the data after a line with their code of authentication.

    Args:
        data: any bytes.
        key: hex digits.
        about: what the data are about, if one key seals several files: they cannot be exchanged.
    """
    return _code(data, key, about) + _NEWLINE + data


def unseal(sealed: bytes, key: str, about: str = "") -> bytes:
    """Returns the data that `seal` got.

    Args:
        sealed: what `seal` returned.
        key: hex digits.
        about: what the data are about.

    Raises:
        ArtifactError: they were sealed with another key, or changed since.
    """
    code, _, data = sealed.partition(_NEWLINE)
    if not hmac.compare_digest(code, _code(data, key, about)):
        raise ArtifactError(
            "the measurement is not the verifier's: its seal is wrong",
            hint="clear the verifier's task to measure again; find out who wrote to the inbox",
        )
    return data


def _code(data: bytes, key: str, about: str) -> bytes:
    content = about.encode() + _NEWLINE + data if about else data
    return hmac.digest(bytes.fromhex(key), content, "sha256").hex().encode()
