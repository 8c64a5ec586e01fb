"""Quarantine: rejected rows on their way to a file, how many there are, and how many are borne.

Every rejected row is counted. Rows themselves are stored up to a bound for each rule, in the order
of the files, so that a dataset of nothing but broken rows costs neither memory nor disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from recsys.contract import FeatureSettings
from recsys.errors import DatasetError
from recsys.features.validation import QUARANTINE_SCHEMA, Rule, quarantine_frame

MAX_STORED: Final = 100_000
"""Rows of one file under one rule that are stored; all others are only counted."""
_EXAMPLES: Final = 3
_BUFFERED_ROWS: Final = 50_000


class FileStats(BaseModel):
    """What was read of one CSV file; ``rows`` = rows kept + the sum of ``quarantine``."""

    model_config = ConfigDict(frozen=True)

    rows: int = Field(ge=0, description="rows read, header and blank lines left out")
    quarantine: dict[Rule, int] = Field(description="rows kept apart, by the rule they broke")

    @property
    def broken(self) -> int:
        """Rows that broke a rule; duplicates do not count, because the last one stands."""
        return sum(count for rule, count in self.quarantine.items() if rule != Rule.DUPLICATE)

    def share(self, count: int) -> float:
        """``count`` as a share of ``rows``."""
        return count / self.rows if self.rows else 0.0

    @property
    def broken_share(self) -> float:
        """Share of ``broken`` in ``rows``."""
        return self.share(self.broken)

    @property
    def shares(self) -> dict[Rule, float]:
        """Share of ``rows`` under each rule."""
        return {rule: self.share(count) for rule, count in self.quarantine.items()}


@dataclass
class Rejected:
    """Rejected rows of a part of a file: all counted, the first of each rule at hand.

    Attributes:
        file: the file they are from.
        counts: rows under each rule.
        rows: (rule, file, line number, line), at most ``MAX_STORED`` for each rule.
    """

    file: str
    counts: Counter[Rule] = field(default_factory=Counter)
    rows: list[tuple[Rule, str, int, bytes]] = field(default_factory=list)

    def add(self, rule: Rule, number: int, line: bytes) -> None:
        """Takes one rejected line."""
        self.counts[rule] += 1
        if self.counts[rule] <= MAX_STORED:
            self.rows.append((rule, self.file, number, line))

    @property
    def frame(self) -> pl.DataFrame:
        """The rows at hand by line, ``QUARANTINE_SCHEMA``."""
        return quarantine_frame(self.rows).sort("line")


class Quarantine:
    """Rejected rows of a dataset, streamed to disk in the order in which they come.

    Args:
        folder: an empty folder for the rows while they come.
        files: the names of the CSV files.
    """

    def __init__(self, folder: Path, files: Iterable[str]) -> None:
        self._folder = folder
        self._read: Counter[str] = Counter()
        self._counts: dict[str, Counter[Rule]] = {file: Counter() for file in files}
        self._examples: dict[str, list[str]] = {file: [] for file in files}
        self._buffer: list[pl.DataFrame] = []
        self._buffered = 0
        self._parts: list[Path] = []

    def read(self, file: str, rows: int) -> None:
        """Counts rows that were read, rejected or not."""
        self._read[file] += rows

    def add(self, rejected: Rejected) -> None:
        """Takes rows that broke a rule."""
        examples = self._examples[rejected.file]
        for rule, _, number, line in rejected.rows:
            if len(examples) == _EXAMPLES:
                break
            if rule != Rule.DUPLICATE:
                text = line[:40].decode("utf-8", "backslashreplace")
                examples.append(f"line {number} {text!r} ({rule})")
        counts = self._counts[rejected.file].copy()
        kept = []
        for row in rejected.rows:
            counts[row[0]] += 1
            if counts[row[0]] <= MAX_STORED:
                kept.append(row)
        self._store(quarantine_frame(kept).sort("line"))
        self._counts[rejected.file].update(rejected.counts)

    def add_duplicates(self, file: str, lost: pl.DataFrame) -> None:
        """Takes ratings that lost against a later one (``validation.RATING_SCHEMA``).

        Their lines are gone by now: the text is their values in the usual order of columns.
        """
        room = max(MAX_STORED - self._counts[file][Rule.DUPLICATE], 0)
        self._store(
            lost.sort("line")
            .head(room)
            .select(
                rule=pl.lit(Rule.DUPLICATE.value, QUARANTINE_SCHEMA["rule"]),
                file=pl.lit(file, QUARANTINE_SCHEMA["file"]),
                line="line",
                text=pl.concat_str("userId", "movieId", "rating", "timestamp", separator=","),
            )
        )
        self._counts[file][Rule.DUPLICATE] += lost.height

    def stats(self, file: str) -> FileStats:
        """What was read and rejected of one file so far."""
        return FileStats(rows=self._read[file], quarantine=dict(sorted(self._counts[file].items())))

    def check(self, file: str, settings: FeatureSettings, at_least: int = 0) -> None:
        """Fails when more rows are broken than the settings bear, overall or under one rule.

        Args:
            file: the file to check.
            settings: the shares that are borne.
            at_least: rows that the file has, where it is not read to its end.

        Raises:
            DatasetError: there are too many, or no row at all.
        """
        found = self.stats(file)
        found = found.model_copy(update={"rows": max(found.rows, at_least)})
        check_shares(file, found, settings, self._examples[file], read=self._read[file])

    def write(self, path: Path) -> None:
        """Writes what is stored as parquet: movies.csv's rows, then ratings.csv's.

        The rows of a file come by line number, but for duplicates among ratings: they are found
        last and come last, range of users by range of users.
        """
        self._flush()
        if self._parts:
            pl.scan_parquet(self._parts).sink_parquet(path)
        else:
            pl.DataFrame(schema=QUARANTINE_SCHEMA).write_parquet(path)

    def _store(self, rows: pl.DataFrame) -> None:
        if rows.height:
            self._buffer.append(rows)
            self._buffered += rows.height
        if self._buffered >= _BUFFERED_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._buffer:
            part = self._folder / f"{len(self._parts):06}.parquet"
            pl.concat(self._buffer).write_parquet(part)
            self._parts.append(part)
            self._buffer, self._buffered = [], 0


def check_shares(
    file: str,
    found: FileStats,
    settings: FeatureSettings,
    examples: Iterable[str] = (),
    read: int | None = None,
) -> None:
    """Fails when more rows of a file are broken than the settings bear.

    Args:
        file: its name, for the message.
        found: rows and rejected rows.
        settings: ``max_quarantine_share`` for all rules but duplicates together, and
            ``max_rule_shares`` for each rule.
        examples: rejected rows to show.
        read: rows read so far, where ``found.rows`` is a bound; for the message.

    Raises:
        DatasetError: there are too many, or no row at all.
    """
    if not found.rows:
        raise no_valid_rows_error(file)
    limits = settings.max_rule_shares.model_dump()
    over = [rule for rule, share in found.shares.items() if share > limits[rule]]
    if found.broken_share <= settings.max_quarantine_share and not over:
        return
    rows = found.rows if read is None else read
    counts = sorted(found.quarantine.items(), key=lambda item: -item[1])
    by_rule = ", ".join(f"{rule} {n}" for rule, n in counts)
    expected = [f"at most {settings.max_quarantine_share:.1%}"]
    expected += [f"at most {limits[rule]:.1%} under {rule}" for rule in over]
    if over == [Rule.DUPLICATE]:
        what = "repeat a movie" if file.startswith("movies") else "rate a movie again"
        message, broken = f"too many rows of {file} {what}", found.quarantine[Rule.DUPLICATE]
    else:
        message, broken = f"too many rows of {file} are broken", found.broken
    shown = ", ".join(examples)
    raise DatasetError(
        message,
        found=f"{broken} of {rows} rows read: {by_rule}",
        expected="; ".join(expected),
        hint="mend the dataset and publish it with a new md5, or, if it is meant so, raise the "
        "limits in the build settings" + (f"; first broken rows: {shown}" if shown else ""),
    )


def no_valid_rows_error(file: str, found: FileStats | None = None) -> DatasetError:
    """The error for a file in which nothing can be used."""
    counts = found.quarantine.items() if found else ()
    by_rule = ", ".join(f"{rule} {count}" for rule, count in counts)
    return DatasetError(
        f"{file} holds no valid row",
        found=f"only broken rows: {by_rule}" if by_rule else "a header and no row below it",
        expected="one row per movie, one per rating",
        hint="publish a whole dataset with its md5",
    )
