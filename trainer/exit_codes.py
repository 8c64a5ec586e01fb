"""How an exception that ends the trainer is logged; see `verifier.process` for its exit code."""

from __future__ import annotations

import logging

from recsys.contract import ExitCode
from recsys.errors import PermanentError, TransientError
from trainer.termination import TERMINATED_MESSAGE
from verifier.process import exhausted_resource, exhaustion_advice
from verifier.process import exit_code as exit_code

log = logging.getLogger(__name__)


def log_failure(error: BaseException, code: ExitCode) -> None:
    """Logs why the trainer ends; with a traceback only if the cause is a defect."""
    if code == ExitCode.TERMINATED:
        log.error(TERMINATED_MESSAGE)
    elif resource := exhausted_resource(error):
        log.error(
            "%s ran out: %s; what to do: %s",
            resource,
            error,
            exhaustion_advice(
                resource,
                "raise the trainer's limit, or lower rating.members, rating.group_size or "
                "ranking.batch_size",
            ),
        )
    elif isinstance(error, (PermanentError, TransientError)) and code != ExitCode.INTERNAL:
        log.error("%s", error)
    else:
        log.error("a defect of the trainer", exc_info=error)
