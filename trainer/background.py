"""Work without TensorFlow, done by a second thread while TensorFlow fits.

A fit has two kinds of work: steps of TensorFlow, and closed forms and samples by NumPy, which use
one core. Neither needs the other's result before its end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

from threadpoolctl import threadpool_limits

LARGEST: Final = 2_000_000
"""Interactions up to which a thread is used: above, both kinds of work need too much memory."""

_Result = TypeVar("_Result")


class Background(Generic[_Result]):
    """A result that a thread computes, or its caller; the same one, as no state is shared.

    The thread is a daemon: SIGTERM and Ctrl-C end the process without waiting for it.

    Args:
        compute: computes the result; it must not use TensorFlow.
        in_thread: whether a thread computes it; else it is computed before this returns.
    """

    def __init__(self, compute: Callable[[], _Result], *, in_thread: bool) -> None:
        self._compute = compute
        self._future: Future[_Result] = Future()
        if in_thread:
            threading.Thread(target=self._run, name="background", daemon=True).start()
        else:
            self._run()

    def result(self) -> _Result:
        """Returns the result when it is there, and raises what its computation raised."""
        return self._future.result()

    def _run(self) -> None:
        try:
            self._future.set_result(self._compute())
        except BaseException as error:
            self._future.set_exception(error)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limits NumPy's linear algebra to the thread that calls it, within this block or function.

    The limit is the whole process's. What sets and restores it inside this block thus leaves it as
    it is for the other thread, whose sums would else be added up in another order. TensorFlow has
    threads of its own.
    """
    with threadpool_limits(1, "blas"):
        yield
