"""Runs a step in a thread beside the ones of a block, as a DAG's branches run beside each other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def beside(step: Callable[..., object], *arguments: object) -> Iterator[None]:
    """Runs a step in a thread while the block runs, and waits for it at the block's end.

    If the block fails or is interrupted, the step is not waited for: it ends with the process, or
    with the servers that it uses.

    Args:
        step: what the thread runs.
        arguments: of the step.

    Raises:
        Exception: the step's, if the block did not fail.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            step(*arguments)
        except BaseException as error:  # raised again in the caller's thread
            failures.append(error)

    thread = threading.Thread(target=run, name=getattr(step, "__name__", "step"), daemon=True)
    thread.start()
    yield
    while thread.is_alive():
        # With a limit, so that a signal is handled at once.
        thread.join(0.2)
    if failures:
        raise failures[0]
