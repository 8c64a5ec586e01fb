"""Arguments that all DAGs share."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from recsys.errors import PermanentError
from recsys_dag import settings
from recsys_dag.placement import placement

START_DATE: Final = datetime(2026, 1, 1)
TAGS: Final = ["recsys", "movies"]


def task_defaults() -> dict[str, Any]:
    """Default arguments: owner, timeout, placement, and retries with backoff.

    A permanent error fails the task at once, without a retry.
    """
    return {
        "owner": "recsys",
        "retries": 3,
        "retry_delay": settings.retry_delay(),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=15),
        "retry_policy": ExceptionRetryPolicy(
            rules=[
                RetryRule(
                    exception=PermanentError,
                    action=RetryAction.FAIL,
                    reason="a retry cannot fix a permanent error",
                )
            ]
        ),
        "execution_timeout": timedelta(minutes=10),
        **placement("light"),
    }
