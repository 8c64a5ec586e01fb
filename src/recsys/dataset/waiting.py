"""How long to wait before a source is asked again, and when that is of no use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type

from recsys.dataset.sources import BusySourceError

if TYPE_CHECKING:
    from recsys.dataset.settings import FetchSettings

T = TypeVar("T")

MAX_WAIT_S: Final = 30.0
MAX_RETRY_AFTER_S: Final = 120.0
"""A server that asks for more ends the attempts: the task is retried later instead."""


def pause_s(settings: FetchSettings, failed_attempts: int, error: BaseException | None) -> float:
    """Returns the seconds before the next attempt: doubled each time, or what the server asks."""
    doubled = settings.first_wait_s * 2.0 ** max(failed_attempts - 1, 0)
    return max(min(doubled, MAX_WAIT_S), _retry_after(error))


def asks_for_too_much(error: BaseException | None) -> bool:
    """Whether a server asks for a longer pause than a download waits."""
    return _retry_after(error) > MAX_RETRY_AFTER_S


def while_busy(settings: FetchSettings, attempt: Callable[[], T]) -> T:
    """Calls ``attempt`` again while the source answers that it is not ready yet.

    Raises:
        BusySourceError: it was not ready in any attempt.
    """
    return Retrying(
        retry=retry_if_exception_type(BusySourceError),
        stop=lambda state: (
            state.attempt_number >= settings.attempts or asks_for_too_much(_error(state))
        ),
        wait=lambda state: pause_s(settings, state.attempt_number, _error(state)),
        reraise=True,
    )(attempt)


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _retry_after(error: BaseException | None) -> float:
    return error.retry_after_s if isinstance(error, BusySourceError) else 0.0
