"""Actors for tests."""

from __future__ import annotations

from recsys.ledger import Actor


def an_actor(name: str = "t", reason: str = "t") -> Actor:
    """Returns an actor whose origin is the tests."""
    return Actor(name, "tests", reason)
