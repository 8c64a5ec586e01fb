"""The interface of the trainer: its input as environment variables, and its exit codes."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from recsys.contract.build import Build
from recsys.contract.keys import NONCE_PATTERN, FrozenModel, ReleaseId, check_key_prefix, inbox_key


class ExitCode(IntEnum):
    """Exit codes of the trainer; those of sysexits.h where it has one."""

    OK = 0
    BAD_DATA = 65
    """Permanent: the interactions cannot be trained on, or the stored release is invalid."""
    INTERNAL = 70
    """Permanent: a defect of the trainer."""
    UNAVAILABLE = 75
    """Transient: S3 is unavailable, or disk or memory ran out."""
    BAD_CONFIG = 78
    """Permanent: a setting is missing or invalid."""
    TERMINATED = 143
    """Transient: terminated by SIGTERM; no manifest was written."""

    @property
    def is_transient(self) -> bool:
        """Whether a retry may succeed."""
        return self in (ExitCode.UNAVAILABLE, ExitCode.TERMINATED)


SESSION_END: Final = "\x1eexit code "
"""In the output of `trainer.session`: a command has ended, with the code that follows."""


def exit_is_transient(code: int) -> bool:
    """Returns whether a process that exited with ``code`` should be retried.

    Death by a signal is transient: out of memory, a lost node. Its code is negative, or 128 + n in
    shells and Kubernetes. A code that is not in the contract is a defect, and thus permanent.
    """
    if code < 0 or code > 128:
        return True
    try:
        return ExitCode(code).is_transient
    except ValueError:
        return False


class TrainerInput(FrozenModel):
    """The complete input of the trainer, except secrets, passed as environment variables.

    The S3 credentials (`SECRET_ENV`) are passed by reference (a Kubernetes secret, a connection),
    or the trainer's machine has an identity; never through this class.
    """

    build: Build
    run_nonce: str = Field(min_length=8, max_length=64, pattern=NONCE_PATTERN)
    s3_bucket: str = Field(min_length=3)
    s3_endpoint: str | None = None
    s3_region: str = "us-east-1"
    s3_prefix: Annotated[str, AfterValidator(check_key_prefix)] = ""
    """Prefix of all keys in the bucket, for several recommenders in one."""
    s3_verify: str = ""
    """``false``, or the file of trusted certificates on the trainer's machine; default: boto3's."""
    s3_config: str = ""
    """Arguments of botocore's Config as JSON, without secrets."""
    xcom_dir: str = "/airflow/xcom"
    champion: ReleaseId | None = None
    """Release that the candidate is compared with on its holdout; it does not affect artifacts."""
    seal: str | None = Field(default=None, repr=False)
    """Key of `recsys.contract.seal`, for the verifier only; worthless after its measurement."""
    forward: tuple[ReleaseId, ...] = ()
    """Served releases that the verifier predicts stars with, for the forward test."""

    @property
    def release_id(self) -> str:
        """Id of the release to make."""
        return self.build.release_id

    def inbox_key(self, name: str) -> str:
        """Returns the S3 key that the trainer writes a file to; it may write nowhere else."""
        return inbox_key(self.release_id, self.run_nonce, name)

    def to_environment(self) -> dict[str, str]:
        """Returns this input as environment variables, which ``from_environment`` reads."""
        variables = {
            ENV_BUILD: self.build.model_dump_json(),
            ENV_RELEASE_ID: self.release_id,
            ENV_RUN_NONCE: self.run_nonce,
            ENV_S3_BUCKET: self.s3_bucket,
            ENV_S3_REGION: self.s3_region,
            ENV_XCOM_DIR: self.xcom_dir,
            ENV_CONTRACT: str(contract_number(self.s3_prefix)),
        }
        optional = {
            ENV_S3_ENDPOINT: self.s3_endpoint,
            ENV_S3_PREFIX: self.s3_prefix,
            ENV_S3_VERIFY: self.s3_verify,
            ENV_S3_CONFIG: self.s3_config,
            ENV_CHAMPION: self.champion,
            ENV_SEAL: self.seal,
            ENV_FORWARD: ",".join(self.forward),
        }
        return variables | {name: value for name, value in optional.items() if value}

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> TrainerInput:
        """Reads the variables that ``to_environment`` returns.

        Raises:
            KeyError: a variable is missing.
            ValueError: a variable is invalid, the release id is not the build's, or the pipeline
                fulfills another contract.
        """
        found = environ.get(ENV_CONTRACT) or "1"
        expected = contract_number(environ.get(ENV_S3_PREFIX, ""))
        if found != str(expected):
            raise ValueError(
                f"the pipeline fulfills contract {found} of pipeline and trainer, this trainer "
                f"{expected}: use the trainer's image and the pipeline's of the same edition"
            )
        parsed = cls(
            build=Build.model_validate_json(environ[ENV_BUILD]),
            run_nonce=environ[ENV_RUN_NONCE],
            s3_bucket=environ[ENV_S3_BUCKET],
            s3_endpoint=environ.get(ENV_S3_ENDPOINT) or None,
            s3_region=environ.get(ENV_S3_REGION, "us-east-1"),
            s3_prefix=environ.get(ENV_S3_PREFIX, ""),
            s3_verify=environ.get(ENV_S3_VERIFY, ""),
            s3_config=environ.get(ENV_S3_CONFIG, ""),
            xcom_dir=environ.get(ENV_XCOM_DIR, "/airflow/xcom"),
            champion=environ.get(ENV_CHAMPION) or None,
            seal=environ.get(ENV_SEAL) or None,
            forward=tuple(filter(None, environ.get(ENV_FORWARD, "").split(","))),
        )
        if environ[ENV_RELEASE_ID] != parsed.release_id:
            raise ValueError(f"{ENV_RELEASE_ID} is not the release id of {ENV_BUILD}")
        return parsed


CONTRACT: Final = 3
"""Number of the contract: raised when an older trainer cannot work with a newer pipeline, or an
older pipeline with a newer trainer. 1: the trainer wrote to the release, and there was no
number. 2: it writes to the run's inbox. 3: its image has the verifier, the gate judges what that
measures, it records golden recommendations, and the manifest has fields that an older pipeline
refuses."""
_CONTRACT_WITH_PREFIX: Final = 4


def contract_number(s3_prefix: str) -> int:
    """Returns the number of the contract that a pipeline with this prefix of keys fulfills.

    A trainer of contract 3 does not know prefixes. It would read and write the objects of the
    recommender that has none, so it must refuse to work; without a prefix, it still works.
    """
    return _CONTRACT_WITH_PREFIX if s3_prefix else CONTRACT


ENV_CONTRACT: Final = "RECSYS_CONTRACT"
ENV_BUILD: Final = "RECSYS_BUILD"
ENV_RELEASE_ID: Final = "RECSYS_RELEASE_ID"
ENV_RUN_NONCE: Final = "RECSYS_RUN_NONCE"
ENV_S3_BUCKET: Final = "RECSYS_S3_BUCKET"
ENV_S3_ENDPOINT: Final = "RECSYS_S3_ENDPOINT"
ENV_S3_REGION: Final = "RECSYS_S3_REGION"
ENV_S3_PREFIX: Final = "RECSYS_S3_PREFIX"
ENV_S3_VERIFY: Final = "RECSYS_S3_VERIFY"
ENV_S3_CONFIG: Final = "RECSYS_S3_CONFIG"
ENV_XCOM_DIR: Final = "RECSYS_XCOM_DIR"
XCOM_FILE: Final = "return.json"
"""File in that folder that Airflow's sidecar returns as the task's XCom."""
ENV_CHAMPION: Final = "RECSYS_CHAMPION"
ENV_SEAL: Final = "RECSYS_SEAL"
"""Key with which the verifier seals its measurement, in hex digits; a trainer does not get it."""
ENV_FORWARD: Final = "RECSYS_FORWARD"
"""Ids of the served releases that the verifier predicts stars with, separated by commas."""
ENV_SITE_KERAS: Final = "RECSYS_SITE_KERAS"
"""The site's version of Keras, e.g. 3.15.0; a trainer with a newer one refuses to train."""
ENV_WORKERS: Final = "RECSYS_WORKERS"
"""Number of pods of the Indexed Job that train together; default 1."""
ENV_WORKER_SERVICE: Final = "RECSYS_WORKER_SERVICE"
"""Headless Service through which these pods resolve each other."""
SECRET_ENV: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "RECSYS_S3_ROLE_ARN",
    "RECSYS_S3_ROLE_OPTIONS",
    "RECSYS_S3_STS_ENDPOINT",
)
"""The S3 credentials: all of them are optional."""
