"""Finds the quotes of a CSV that can be left out, for all lines of a block at once.

Some tools write quotes around every field. Around a field of digits they mean nothing, and without
them a block is parsed at full speed.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

QUOTE: Final = ord('"')
_LINE_FEED: Final = ord("\n")


def needed_quotes(content: npt.NDArray[np.uint8], separator: int) -> npt.NDArray[np.bool_]:
    """Marks in each line what keeps its quotes from being left out; see the return value.

    Args:
        content: complete lines, each ended by LF.
        separator: the byte between fields.

    Returns:
        A mask of the bytes. A line without a marked byte has quotes only around whole fields, and
        no separator or quote in between, so without the quotes it has the same fields. (A line that
        is nothing but two quotes becomes a blank one.)
    """
    quote, line_end = content == QUOTE, content == _LINE_FEED
    # Whether a byte is between quotes; an opening quote is, a closing one is not.
    inside = _running_parity(quote)
    if inside[line_end].any():
        # A line ends between quotes, but the next one is judged on its own.
        ends = np.flatnonzero(line_end)
        begins_inside = np.concatenate([np.zeros(1, np.bool_), inside[ends[:-1]]])
        inside ^= np.repeat(begins_inside, np.diff(ends, prepend=-1))
    boundary = line_end | (content == separator)
    needed: npt.NDArray[np.bool_] = inside & boundary
    opening, closing = quote & inside, quote & ~inside
    needed[1:] |= opening[1:] & ~boundary[:-1]
    needed[:-1] |= closing[:-1] & ~boundary[1:]
    return needed


def _running_parity(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Returns for each place whether the mask is set at an odd number of places up to there."""
    # Eight places at once, which takes a third of the time of logical_xor.accumulate.
    packed = np.packbits(mask)
    for shift in (1, 2, 4):
        packed ^= packed >> shift
    carried = np.logical_xor.accumulate(packed & 1)
    packed[1:][carried[:-1]] ^= 0xFF
    return np.unpackbits(packed, count=len(mask)).view(np.bool_)
