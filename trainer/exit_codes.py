"""How an exception that ends the trainer is logged, and which exit code it becomes."""

from __future__ import annotations

import errno
import logging
import os

from recsys.contract import ExitCode
from recsys.errors import (
    ArtifactError,
    ConfigurationError,
    DatasetError,
    EvaluationError,
    PermanentError,
    TrainingError,
    TransientError,
)
from trainer.termination import TERMINATED_MESSAGE

log = logging.getLogger(__name__)

_BAD_DATA = (DatasetError, TrainingError, EvaluationError, ArtifactError)


def exit_code(error: BaseException) -> ExitCode:
    """Returns the exit code of an exception, unless SIGTERM caused it."""
    if isinstance(error, ConfigurationError):
        return ExitCode.BAD_CONFIG
    if isinstance(error, _BAD_DATA):
        return ExitCode.BAD_DATA
    if isinstance(error, TransientError) or exhausted_resource(error):
        return ExitCode.UNAVAILABLE
    return ExitCode.INTERNAL


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
        return "disk space"
    return ""


def log_failure(error: BaseException, code: ExitCode) -> None:
    """Logs why the trainer ends; with a traceback only if the cause is a defect."""
    if code == ExitCode.TERMINATED:
        log.error(TERMINATED_MESSAGE)
    elif resource := exhausted_resource(error):
        log.error(
            "%s ran out: %s; what to do: raise the trainer's limit, or lower rating.members, "
            "rating.group_size or ranking.batch_size",
            resource,
            error,
        )
    elif isinstance(error, (PermanentError, TransientError)) and code != ExitCode.INTERNAL:
        log.error("%s", error)
    else:
        log.error("a defect of the trainer", exc_info=error)
