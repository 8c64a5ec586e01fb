"""The users who were erased, known by keyed hashes only, so that no dump brings them back.

A hash of an id without a key would be no secret: there are few possible ids, and anybody with the
hashes can try all of them. The key is in the ledger, see docs/adr/0033-erasing-users.md.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import polars as pl

from recsys.contract import LARGEST_ID
from recsys.features.quarantine import Rejected
from recsys.features.rules import Rule
from recsys.features.validation import split_line

_NUMBER: Final = re.compile(rb"([0-9]+)(?:\.([0-9]+))?")
_MAX_DIGITS: Final = len(str(LARGEST_ID))


def whole_numbers(text: bytes) -> set[int]:
    """Returns the numbers in a text that may be ids: 5, 005 and 5.0, but nothing of 9.5."""
    found = set()
    for whole, decimals in _NUMBER.findall(text):
        digits = whole.lstrip(b"0")
        if digits and len(digits) <= _MAX_DIGITS and not decimals.strip(b"0"):
            found.add(int(digits))
    return {number for number in found if number <= LARGEST_ID}


class ErasedUsers:
    """Recognizes the ids of erased users.

    Args:
        key: the key of the hashes.
        hashes: the keyed hash of each erased user.
        digest: identifies this list, 64 hex digits; None if it is empty.
    """

    def __init__(self, key: bytes, hashes: Iterable[bytes] = (), digest: str | None = None) -> None:
        self._key = key
        self.hashes = frozenset(hashes)
        self.digest = digest
        # One user has many rows: each id is hashed once.
        self._checked: set[int] = set()
        self._erased: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self.hashes)

    def hash_of(self, user_id: int) -> bytes:
        """Returns the keyed hash of an id, 32 bytes."""
        return hmac.digest(self._key, b"%d" % user_id, "sha256")

    def find(self, ids: Iterable[int]) -> set[int]:
        """Returns those of some ids that are of erased users."""
        if not self.hashes:
            return set()
        asked = set(ids)
        for user_id in asked - self._checked:
            if self.hash_of(user_id) in self.hashes:
                self._erased.add(user_id)
        self._checked |= asked
        return asked & self._erased

    def numbers_in(self, text: bytes) -> set[int]:
        """Returns the numbers in a text that are ids of erased users."""
        return self.find(whole_numbers(text))


def without_erased(
    rows: pl.DataFrame, rejected: Rejected, erased: ErasedUsers
) -> tuple[pl.DataFrame, Rejected]:
    """Leaves the rows of erased users out of valid and rejected rows of ratings.csv.

    Both are counted under `Rule.ERASED` and never stored. An invalid line may be of anybody, so the
    text of one in which the id of an erased user occurs is not stored either, whatever the number
    stands for there; it keeps its rule.

    Args:
        rows: the valid rows, with the column userId.
        rejected: the others.
        erased: the erased users.
    """
    gone = erased.find(rows["userId"].unique().to_list())
    kept = rows.filter(~pl.col("userId").is_in(sorted(gone))) if gone else rows
    counts = rejected.counts.copy()
    counts[Rule.ERASED] += rows.height - kept.height
    stored = []
    for row in rejected.rows:
        found = erased.numbers_in(row[3])
        if not found:
            stored.append(row)
        elif _user_of(row[3], rejected) in found:
            counts[row[0]] -= 1
            counts[Rule.ERASED] += 1
    return kept, replace(rejected, counts=+counts, rows=stored)


def _user_of(line: bytes, rejected: Rejected) -> int | None:
    """Returns the user of an invalid line; None if nobody can say."""
    fields = split_line(line.decode("utf-8", "replace"))
    header = rejected.header
    if header is None or fields is None or len(fields) != header.width:
        return None
    digits = fields[header.positions[0]].strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None
