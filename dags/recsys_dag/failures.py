"""The error of a failed task, kept in XCom: Airflow itself keeps it in the task's log only."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

ERROR_KEY: Final = "error"
_MAX_CHARACTERS: Final = 500


def note_error(context: Context) -> None:
    """Failure callback of a task: pushes the error to XCom for the releases page.

    A task that was killed has no error, and its callback runs in another process.
    """
    error = context.get("exception")
    if error is None:
        return
    try:
        from airflow.sdk.log import redact  # type: ignore[attr-defined]  # not in its __all__

        text = " ".join(str(error).split()) or type(error).__name__
        context["ti"].xcom_push(key=ERROR_KEY, value=str(redact(text))[:_MAX_CHARACTERS])
    except Exception:
        log.exception("the error is not shown on the releases page")
