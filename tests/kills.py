"""Stands for a kill at a step of an operation."""

from __future__ import annotations

from collections.abc import Callable


class Killed(BaseException):
    """No handler of the product catches it."""


def kill_at(last: str) -> Callable[[str], None]:
    """Returns a trace that ends the operation when it reaches a step."""

    def trace(step: str) -> None:
        if step == last:
            raise Killed

    return trace
