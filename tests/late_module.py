"""Modules that are slow to import, imported at their first use.

Every process of a parallel run imports all test modules, but runs only some of their tests.
"""

from __future__ import annotations

import importlib
from typing import Any


class LateModule:
    """A module that is imported when one of its names is used.

    Args:
        name: its full name.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
