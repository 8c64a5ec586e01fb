"""Arguments that all DAGs share."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from recsys.errors import PermanentError
from recsys_dag import failures, settings, timeouts
from recsys_dag.placement import placement

START_DATE: Final = datetime(2026, 1, 1)
TAGS: Final = ["recsys", "movies"]


def task_defaults() -> dict[str, Any]:
    """Default arguments: owner, timeout, placement, failure callback, and retries with backoff.

    A permanent error fails the task at once, without a retry.
    """
    return {
        "owner": "recsys",
        "retries": timeouts.RETRIES,
        "retry_delay": settings.retry_delay(),
        "retry_exponential_backoff": True,
        "max_retry_delay": timeouts.MAX_RETRY_DELAY,
        "retry_policy": ExceptionRetryPolicy(
            rules=[
                RetryRule(
                    exception=PermanentError,
                    action=RetryAction.FAIL,
                    reason="a retry cannot fix a permanent error",
                )
            ]
        ),
        "execution_timeout": timeouts.DEFAULT,
        "on_failure_callback": failures.note_error,
        **placement("light"),
    }
