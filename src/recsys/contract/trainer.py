"""How the pipeline calls the trainer: environment variables in, an exit code out."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from pydantic import (
    Field,
)

from recsys.contract.build import Build
from recsys.contract.keys import FrozenModel, ReleaseId


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


class TrainerInput(FrozenModel):
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
XCOM_FILE: Final = "return.json"
"""The file in that folder which Airflow's sidecar returns as the task's XCom."""
ENV_CHAMPION: Final = "RECSYS_CHAMPION"
ENV_SITE_KERAS: Final = "RECSYS_SITE_KERAS"
"""The Keras that the site has, e.g. 3.15.0: a trainer with a newer one refuses to train."""
ENV_WORKERS: Final = "RECSYS_WORKERS"
"""How many pods of an Indexed Job train together; absent: one trains alone."""
ENV_WORKER_SERVICE: Final = "RECSYS_WORKER_SERVICE"
"""The headless service by which they find each other."""
SECRET_ENV: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
