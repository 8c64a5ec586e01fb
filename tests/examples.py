"""How many examples hypothesis tries."""

from __future__ import annotations

from hypothesis import settings


def examples(count: int) -> int:
    """Returns ``count``, or the profile's number of examples if `make check` runs the tests.

    An explicit ``max_examples`` would otherwise take precedence over the profile.
    """
    default = settings.get_profile("default").max_examples
    profile = settings().max_examples
    return count if profile >= default else min(count, profile)
