"""What all DAGs of this product have in common."""

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
    """Owner, time limit, and retries: with backoff for what may pass, none for what cannot."""
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
                    reason="another try cannot mend it",
                )
            ]
        ),
        "execution_timeout": timedelta(minutes=10),
        **placement("light"),
    }
