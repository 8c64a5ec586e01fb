"""The range of a dataset's ids: 32 bits by default, 64 bits by a build setting.

Users and movies have ids from 1 on. 0 is nobody: the site asks the model for the stars of a typical
user by it. docs/adr/0041-64-bit-ids.md says why the width is declared and not found in the data.
"""

from __future__ import annotations

from typing import Final, Literal

IdBits = Literal[32, 64]
"""Width of all ids of a dataset, of users and movies alike."""
NARROW: Final[IdBits] = 32
WIDE: Final[IdBits] = 64
LARGEST_ID: Final = 2**63 - 1
"""Of any dataset."""


def max_id(bits: IdBits) -> int:
    """Returns the largest id of a width."""
    largest: int = 2 ** (bits - 1) - 1
    return largest
