"""`make soak` in small: it works, kills, reads, and finds nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.conftest import World
from tests.chaos.soak import soak

pytestmark = pytest.mark.slow


def test_a_short_soak_finds_nothing(world: World, children: Any) -> None:
    report = soak(world, children(world), iterations=3, seed=7, limit_s=600)
    assert report.iterations == 3
    assert report.is_good, "\n".join(report.lines())
    assert report.reads > 0
