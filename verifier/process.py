"""What every command of trainer and verifier starts and ends with: input, store, exit code."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from recsys.contract import ExitCode, TrainerInput
from recsys.errors import (
    ArtifactError,
    ConfigurationError,
    DatasetError,
    EvaluationError,
    TrainingError,
    TransientError,
    first_invalid_field,
)

if TYPE_CHECKING:
    from recsys.object_store import ObjectStore

_DISK: Final = "disk space"
_BAD_DATA = (DatasetError, TrainingError, EvaluationError, ArtifactError)


def read_input(environ: Mapping[str, str]) -> TrainerInput:
    """Reads the input of trainer or verifier from environment variables.

    Raises:
        ConfigurationError: a variable is missing or invalid.
    """
    try:
        return TrainerInput.from_environment(environ)
    except KeyError as error:
        raise ConfigurationError(
            f"the environment variable {error.args[0]} is not set",
            hint="`python -m trainer --help` lists the environment variables",
        ) from error
    except ValidationError as error:
        invalid = first_invalid_field(error)
        raise ConfigurationError(
            f"the trainer's input is invalid: {error.title}.{invalid}", found=invalid.value
        ) from error
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def connect_store(environ: Mapping[str, str]) -> ObjectStore:
    """Returns the object store that the environment names; raises ConfigurationError."""
    from recsys.object_store import ObjectStore, S3Settings

    return ObjectStore.connect(S3Settings.from_environment(environ))


def exit_code(error: BaseException) -> ExitCode:
    """Returns the exit code of an exception, unless SIGTERM caused it."""
    if isinstance(error, ConfigurationError):
        return ExitCode.BAD_CONFIG
    if isinstance(error, _BAD_DATA):
        return ExitCode.BAD_DATA
    if isinstance(error, TransientError) or exhausted_resource(error):
        return ExitCode.UNAVAILABLE
    return ExitCode.INTERNAL


def exhaustion_advice(resource: str, for_memory: str) -> str:
    """Returns what to do when memory or disk space ran out.

    Args:
        resource: see `exhausted_resource`.
        for_memory: what to do if it is memory.
    """
    if resource == _DISK:
        return f"free space in {tempfile.gettempdir()}, or set TMPDIR to a larger disk"
    return for_memory


def exhausted_resource(error: BaseException) -> str:
    """Returns ``memory`` or ``disk space`` if the exception says that it ran out, else "".

    `recsys.scratch` detects a full disk, too, but is not part of the trainer's image.
    """
    # TensorFlow's error is compared by name, because TensorFlow is not imported here.
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "memory"
    disk_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    # polars, HDF5 and zipfile raise errors of their own that only quote the system's message.
    if disk_full or os.strerror(errno.ENOSPC) in str(error):
        return _DISK
    return ""
