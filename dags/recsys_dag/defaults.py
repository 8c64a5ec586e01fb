"""Arguments that all DAGs share."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from recsys.errors import PermanentError
from recsys_dag import failures, settings, timeouts
from recsys_dag.placement import placement

if TYPE_CHECKING:
    from recsys.recommenders import Description

START_DATE: Final = datetime(2026, 1, 1)


def tags(recommender: Description) -> list[str]:
    """Returns the tags of a recommender's DAGs."""
    return ["recsys", "movies" if recommender.namespace.is_first else recommender.name]


def task_defaults(recommender: Description | None) -> dict[str, Any]:
    """Default arguments: owner, timeout, placement, failure callback, and retries with backoff.

    A permanent error fails the task at once, without a retry.

    Args:
        recommender: whose tasks they are; None: of no single one.
    """
    return {
        "owner": recommender.owner if recommender else "recsys",
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
        **placement("light", recommender),
    }
