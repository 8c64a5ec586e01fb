"""Quarantine of rejected rows: counts them, stores them, and fails a run that has too many.

Every rejected row is counted, but for each rule only a bounded number of rows is stored, in the
order of the files. So a dataset of only invalid rows takes little memory and disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from recsys.contract import STARS, FeatureSettings, RatingScale
from recsys.errors import DatasetError
from recsys.features.advice import advise
from recsys.features.rules import Rule
from recsys.features.stats import FileStats
from recsys.features.validation import (
    QUARANTINE_SCHEMA,
    Header,
    quarantine_frame,
)

MAX_STORED: Final = 100_000
"""Maximum number of rows stored for one file and rule; further rows are only counted."""
MAX_EXAMPLES: Final = 3
"""Rows of each rule that messages show."""
_ADVISED_RULES: Final = 2
_ADVISED_RATINGS: Final = 1000
"""Rows with a rating outside of the scale by which the advice recognizes another scale."""
BUFFERED_ROWS: Final = 50_000


@dataclass
class Rejected:
    """Rejected rows of a part of a file: counts, and the first rows of each rule.

    Attributes:
        file: name of the file.
        counts: number of rows by rule.
        rows: (rule, file, line number, line), at most ``MAX_STORED`` for each rule.
        header: columns of the file; None if unknown.
    """

    file: str
    counts: Counter[Rule] = field(default_factory=Counter)
    rows: list[tuple[Rule, str, int, bytes]] = field(default_factory=list)
    header: Header | None = None

    def add(self, rule: Rule, number: int, line: bytes) -> None:
        """Adds one rejected line."""
        self.counts[rule] += 1
        if self.counts[rule] <= MAX_STORED:
            self.rows.append((rule, self.file, number, line))

    @property
    def frame(self) -> pl.DataFrame:
        """The stored rows by line, ``QUARANTINE_SCHEMA``."""
        return quarantine_frame(self.rows).sort("line")


@dataclass
class Examples:
    """The first rejected rows of a file, for messages.

    Attributes:
        file: name of the file.
        rows: line numbers and lines by rule, at most `MAX_EXAMPLES` of each, but more of ratings
            outside of the scale.
        header: columns of the file; None if unknown.
    """

    file: str
    rows: dict[Rule, list[tuple[int, bytes]]] = field(default_factory=dict)
    header: Header | None = None

    def hint(self, stats: FileStats, scale: RatingScale = STARS) -> str:
        """Returns what to do about the rejected rows, most frequent rules first.

        Args:
            stats: counts of the file.
            scale: that the ratings should have.
        """
        rules = [rule for rule, _ in _most_frequent(stats)][:_ADVISED_RULES]
        advice = [self._advice(rule, scale) for rule in rules]
        shown = [
            f"line {number} {line[:40].decode('utf-8', 'backslashreplace')!r} ({rule})"
            for rule in rules
            for number, line in self.rows.get(rule, [])[:MAX_EXAMPLES]
            if rule is not Rule.DUPLICATE
        ]
        return (
            "; ".join(part for part in advice if part)
            + "; publish the repaired dataset with a new md5, or, if the rows are meant to be "
            "left out, raise the limits in the build settings"
            + (f"; first invalid rows: {', '.join(shown[:MAX_EXAMPLES])}" if shown else "")
        ).removeprefix("; ")

    def _advice(self, rule: Rule, scale: RatingScale) -> str:
        lines = [line for _, line in self.rows.get(rule, [])]
        return advise(rule, self.file, self.header, lines, scale) if lines else ""


class Quarantine:
    """Streams the rejected rows of a dataset to disk in the order in which they are added.

    Args:
        folder: an empty folder for temporary files.
        files: names of the CSV files.
    """

    def __init__(self, folder: Path, files: Iterable[str]) -> None:
        self._folder = folder
        self._read: Counter[str] = Counter()
        self._counts: dict[str, Counter[Rule]] = {file: Counter() for file in files}
        self._examples: dict[str, Examples] = {file: Examples(file) for file in self._counts}
        self._buffer: list[pl.DataFrame] = []
        self._buffered = 0
        self._parts: list[Path] = []

    def read(self, file: str, rows: int) -> None:
        """Counts rows that were read, valid or rejected."""
        self._read[file] += rows

    def add(self, rejected: Rejected) -> None:
        """Adds rejected rows."""
        examples = self._examples[rejected.file]
        examples.header = rejected.header or examples.header
        counts = self._counts[rejected.file].copy()
        stored = []
        for row in rejected.rows:
            counts[row[0]] += 1
            if counts[row[0]] <= MAX_STORED:
                stored.append(row)
            if counts[row[0]] <= (
                _ADVISED_RATINGS if row[0] is Rule.RATING_RANGE else MAX_EXAMPLES
            ):
                examples.rows.setdefault(row[0], []).append((row[2], row[3]))
        self._store(quarantine_frame(stored).sort("line"))
        self._counts[rejected.file].update(rejected.counts)

    def add_duplicates(self, file: str, replaced: pl.DataFrame) -> None:
        """Adds ratings replaced by a later one (``validation.RATING_SCHEMA``).

        Their lines are no longer available, so the text is their values in the usual column order.
        """
        room = max(MAX_STORED - self._counts[file][Rule.DUPLICATE], 0)
        self._store(
            replaced.sort("line")
            .head(room)
            .select(
                rule=pl.lit(Rule.DUPLICATE.value, QUARANTINE_SCHEMA["rule"]),
                file=pl.lit(file, QUARANTINE_SCHEMA["file"]),
                line="line",
                text=pl.concat_str("userId", "movieId", "rating", "timestamp", separator=","),
            )
        )
        self._counts[file][Rule.DUPLICATE] += replaced.height

    def was_read(self, file: str) -> bool:
        """Whether rows of a file were counted, or were looked for and not found."""
        return file in self._read

    def stats(self, file: str) -> FileStats:
        """Returns the counts of one file so far."""
        return FileStats(rows=self._read[file], quarantine=dict(sorted(self._counts[file].items())))

    def no_valid_rows(self, file: str, scale: RatingScale = STARS) -> NoValidRowsError:
        """Returns the error for a file that has no valid row.

        Args:
            file: name of the file.
            scale: that the ratings should have.
        """
        return no_valid_rows_error(self._examples[file], self.stats(file), scale)

    def check(self, file: str, settings: FeatureSettings, at_least: int = 0) -> None:
        """Fails if more rows are invalid than the settings tolerate, in total or for one rule.

        Args:
            file: name of the file.
            settings: largest shares of invalid rows tolerated.
            at_least: upper bound of the file's rows, while it is not yet read to its end.

        Raises:
            DatasetError: too many rows are invalid, or there is no row.
        """
        stats = self.stats(file)
        stats = stats.model_copy(update={"rows": max(stats.rows, at_least)})
        check_shares(stats, settings, self._examples[file], read=self._read[file])

    def write(self, path: Path) -> None:
        """Writes the stored rows as parquet: those of movies.csv, then those of ratings.csv.

        The rows of a file are sorted by line number, except duplicate ratings. They are found last
        and written last, one range of users after the other.
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
        if self._buffered >= BUFFERED_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._buffer:
            part = self._folder / f"{len(self._parts):06}.parquet"
            pl.concat(self._buffer).write_parquet(part)
            self._parts.append(part)
            self._buffer, self._buffered = [], 0


def check_shares(
    stats: FileStats, settings: FeatureSettings, examples: Examples, read: int | None = None
) -> None:
    """Fails if more rows of a file are invalid than the settings tolerate.

    Args:
        stats: counts of the file.
        settings: ``max_quarantine_share`` for all rules but duplicates together, and
            ``max_rule_shares`` for each rule.
        examples: name of the file, and rejected rows, for the message.
        read: rows read so far, for the message, if ``stats.rows`` is an upper bound.

    Raises:
        DatasetError: too many rows are invalid, or there is no row.
    """
    file = examples.file
    if not stats.rows:
        raise no_valid_rows_error(examples)
    limits = settings.max_rule_shares.model_dump()
    over = [rule for rule, share in stats.shares.items() if share > limits.get(rule, 1)]
    if stats.invalid_share <= settings.max_quarantine_share and not over:
        return
    rows = stats.rows if read is None else read
    expected = [f"at most {settings.max_quarantine_share:.1%}"]
    expected += [f"at most {limits[rule]:.1%} for {rule}" for rule in over]
    if over == [Rule.DUPLICATE]:
        what = "repeat a movie" if file.startswith("movies") else "rate a movie again"
        message, count = f"too many rows of {file} {what}", stats.quarantine[Rule.DUPLICATE]
    else:
        message, count = f"too many rows of {file} are invalid", stats.invalid
    raise DatasetError(
        message,
        found=f"{count} of {rows} rows read: {_by_rule(stats)}",
        expected="; ".join(expected),
        hint=examples.hint(stats, settings.scale),
    )


class NoValidRowsError(DatasetError):
    """A file has no valid row."""


def no_valid_rows_error(
    examples: Examples, stats: FileStats | None = None, scale: RatingScale = STARS
) -> NoValidRowsError:
    """Returns the error for a file without a valid row."""
    has_rows = stats is not None and stats.rows > 0
    return NoValidRowsError(
        f"{examples.file} has no valid row",
        found=f"only invalid rows: {_by_rule(stats)}"
        if stats and has_rows
        else "a header without rows",
        expected="one row per movie, one per rating",
        hint=examples.hint(stats, scale)
        if stats and has_rows
        else "publish a complete dataset with its md5",
    )


def _by_rule(stats: FileStats) -> str:
    return ", ".join(f"{rule} {n}" for rule, n in _most_frequent(stats))


def _most_frequent(stats: FileStats) -> list[tuple[Rule, int]]:
    return sorted(stats.quarantine.items(), key=lambda item: -item[1])
