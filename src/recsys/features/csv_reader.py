"""The two CSV files of a dataset as frames, read once from start to end in bounded memory.

Ratings are read in blocks at the speed of polars' CSV parser. The parser only ever sees lines
made of digits, points and commas, where it and `validation.parse_rating` agree; whatever it
cannot read or the ranges refuse is judged line by line. So the speed of a block depends on its
broken rows, and the fate of a row never depends on its neighbors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.contract import MAX_STARS, MIN_STARS
from recsys.dataset import MOVIE_COLUMNS, MOVIES_CSV, RATING_COLUMNS, RATINGS_CSV, open_dataset
from recsys.errors import DatasetError
from recsys.features.interactions import resolve_duplicates
from recsys.features.quarantine import Rejected
from recsys.features.validation import (
    MAX_TIMESTAMP,
    MOVIE_SCHEMA,
    RATING_SCHEMA,
    Header,
    MovieRow,
    RatingRow,
    Rule,
    parse_movie,
    parse_rating,
    read_header,
)

BLOCK_BYTES: Final = 16 << 20
MAX_LINE_BYTES: Final = 1 << 20

_NUMERIC: Final = b"0123456789.,\n"
_IS_NUMERIC: Final = np.isin(np.arange(256), np.frombuffer(_NUMERIC, np.uint8))
_LINE_FEED: Final = ord("\n")
_COMMA: Final = ord(",")
# Parsed as float64, as `parse_rating` does: in float32 3.50000001 would pass for 3.5.
_PARSED: Final = {
    "userId": pl.Int32(),
    "movieId": pl.Int32(),
    "rating": pl.Float64(),
    "timestamp": pl.Int64(),
}
_IN_RANGE: Final = (
    (pl.col("userId") >= 1)
    & (pl.col("movieId") >= 1)
    & pl.col("rating").is_between(MIN_STARS, MAX_STARS)
    & ((pl.col("rating") * 2) % 1 == 0)
    & pl.col("timestamp").is_between(0, MAX_TIMESTAMP, closed="left")
)


@dataclass(frozen=True)
class Batch:
    """Rows of a file or of a part of it.

    Attributes:
        rows: the valid ones.
        rejected: the others.
        read: rows in the file or the part; blank lines are none.
    """

    rows: pl.DataFrame
    rejected: Rejected
    read: int


def read_movies(chunks: Iterable[bytes]) -> Batch:
    """Reads movies.csv whole (some megabytes); rows sorted by movieId, each id once.

    Args:
        chunks: the file, in pieces of any size.

    Raises:
        DatasetError: a column is missing, or a line is longer than 1 MiB.
    """
    movies: dict[int, tuple[int, bytes, MovieRow]] = {}
    rejected = Rejected(MOVIES_CSV)
    read = 0
    for header, first_line, block in _blocks(chunks, MOVIES_CSV, MOVIE_COLUMNS):
        for number, line in enumerate(block.split(b"\n"), first_line):
            if not line:
                continue
            read += 1
            movie = parse_movie(line, header)
            if isinstance(movie, Rule):
                rejected.add(movie, number, line)
                continue
            if loser := movies.get(movie.movie_id):
                rejected.add(Rule.DUPLICATE, loser[0], loser[1])
            movies[movie.movie_id] = (number, line, movie)
    rows = pl.DataFrame([m for _, _, m in movies.values()], schema=MOVIE_SCHEMA, orient="row")
    return Batch(rows.sort("movieId"), rejected, read)


def read_ratings(chunks: Iterable[bytes], movie_ids: pl.Series) -> Iterator[Batch]:
    """Reads ratings.csv part by part; rows have ``RATING_SCHEMA`` and no set order in a part.

    Args:
        chunks: the file, in pieces of any size; read in a thread of its own.
        movie_ids: int32, the movies that may be rated.

    Raises:
        DatasetError: a column is missing, or a line is longer than 1 MiB.
    """
    parser = RatingParser(movie_ids)
    for block in rating_blocks(chunks):
        yield parser.parse(block)


@dataclass(frozen=True)
class RatingBlock:
    """Whole lines of ratings.csv, judged without knowing the others.

    Attributes:
        header: of the file.
        first_line: number of the first line in the file, 1 is the header's.
        lines: each ended by a line feed alone.
    """

    header: Header
    first_line: int
    lines: bytes


def rating_blocks(chunks: Iterable[bytes]) -> Iterator[RatingBlock]:
    """Cuts ratings.csv into blocks of about `BLOCK_BYTES`.

    Args:
        chunks: the file, in pieces of any size; read in a thread of its own.

    Raises:
        DatasetError: a column is missing, or a line is longer than 1 MiB.
    """
    for header, first_line, lines in _blocks(chunks, RATINGS_CSV, RATING_COLUMNS):
        yield RatingBlock(header, first_line, lines)


class RatingParser:
    """Judges blocks of ratings.csv, each alone.

    Args:
        movie_ids: int32, the movies that may be rated.
    """

    def __init__(self, movie_ids: pl.Series) -> None:
        self._known = frozenset(movie_ids.to_list())
        self._valid = _IN_RANGE & pl.col("movieId").is_in(movie_ids.implode())

    def parse(self, block: RatingBlock) -> Batch:
        """Valid rows (``RATING_SCHEMA``, no set order) and rejected ones."""
        lines = _Lines(block.lines)
        frame, doubtful = _parse_lines(lines, block.header, self._valid)
        judged: list[tuple[int, int, float, int, int]] = []
        rejected = Rejected(RATINGS_CSV)
        for index in doubtful.tolist():
            line = lines[index]
            if not line:
                continue
            rating = parse_rating(line, block.header)
            if isinstance(rating, RatingRow) and rating.movie_id not in self._known:
                rating = Rule.UNKNOWN_MOVIE
            if isinstance(rating, Rule):
                rejected.add(rating, block.first_line + index, line)
            else:
                judged.append((*rating, index))
        rows = frame.select(
            "userId",
            "movieId",
            pl.col("rating").cast(pl.Float32),
            "timestamp",
            line=pl.col("index") + block.first_line,
        )
        if judged:
            late = pl.DataFrame(judged, schema=RATING_SCHEMA, orient="row")
            rows = pl.concat([rows, late.with_columns(pl.col("line") + block.first_line)])
        return Batch(rows, rejected, rows.height + rejected.counts.total())


def read_ratings_in_file_order(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Reads a dataset's zip whole into memory, for splits that go by the order of the file.

    Args:
        path: the zip.

    Returns:
        Ratings: columns ``row`` (uint32, 0-based, without a gap), userId, movieId, rating (stars)
        and timestamp, as they stand in the file, without broken rows and without those that a
        later row of the same user and movie replaces. And movies, ``validation.MOVIE_SCHEMA``.

    Raises:
        DatasetError: the archive or one of its files cannot be read.
    """
    with open_dataset(path) as archive:
        movies = read_movies(archive.chunks(MOVIES_CSV)).rows
        batches = read_ratings(archive.chunks(RATINGS_CSV), movies["movieId"])
        empty = pl.DataFrame(schema=RATING_SCHEMA)
        rows, _ = resolve_duplicates(pl.concat([empty, *(batch.rows for batch in batches)]))
    ratings = rows.sort("line").select(RATING_COLUMNS).with_row_index("row")
    return ratings, movies


class _Lines:
    """The lines of a block, found only when someone asks for one."""

    def __init__(self, block: bytes) -> None:
        self.block = block
        self.count = _count_lines(block)

    @cached_property
    def _bytes(self) -> npt.NDArray[np.uint8]:
        return np.frombuffer(self.block, np.uint8)

    @cached_property
    def _ends(self) -> npt.NDArray[np.int64]:
        return np.flatnonzero(self._bytes == _LINE_FEED)

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        return np.concatenate([np.zeros(1, np.int64), self._ends[:-1] + 1])

    def __getitem__(self, index: int) -> bytes:
        return self.block[self._starts[index] : self._ends[index]]

    def are_numeric(self, width: int) -> npt.NDArray[np.bool_]:
        """Which lines are ``width`` fields of nothing but digits and points."""
        foreign = np.add.reduceat(~_IS_NUMERIC[self._bytes], self._starts, dtype=np.int64)
        commas = np.add.reduceat(self._bytes == _COMMA, self._starts, dtype=np.int64)
        return np.equal(foreign, 0) & np.equal(commas, width - 1)

    def only(self, mask: npt.NDArray[np.bool_]) -> bytes:
        """The block with only the lines that ``mask`` names."""
        return self._bytes[np.repeat(mask, self._ends - self._starts + 1)].tobytes()


def _parse_lines(
    lines: _Lines, header: Header, valid: pl.Expr
) -> tuple[pl.DataFrame, npt.NDArray[np.int64]]:
    """Parses what is surely numeric: valid rows with their ``index``, and all other indices."""
    frame = None
    if not lines.block.translate(None, _NUMERIC):
        frame = _parse(lines.block, lines.count, header)
    if frame is not None:
        frame = frame.with_row_index("index")
    else:
        numeric = lines.are_numeric(header.width)
        frame = _parse(lines.only(numeric), int(numeric.sum()), header)
        if frame is None:
            frame, numeric = pl.DataFrame(schema=_PARSED), np.zeros(lines.count, np.bool_)
        frame = frame.with_columns(index=pl.Series(np.flatnonzero(numeric), dtype=pl.UInt32))
    frame = frame.filter(valid)
    if frame.height == lines.count:
        return frame, np.empty(0, np.int64)
    doubtful = np.ones(lines.count, np.bool_)
    doubtful[frame["index"].to_numpy()] = False
    return frame, np.flatnonzero(doubtful)


def _parse(block: bytes, rows: int, header: Header) -> pl.DataFrame | None:
    """The block as columns, null where a value is none; None unless each line is one row."""
    types: dict[str, pl.DataType] = {f"further {i}": pl.String() for i in range(header.width)}
    names = list(types)
    for name, position in zip(RATING_COLUMNS, header.positions, strict=True):
        names[position] = name
    schema = {name: _PARSED.get(name, pl.String()) for name in names}
    try:
        frame = pl.read_csv(
            block, has_header=False, schema=schema, quote_char=None, ignore_errors=True
        )
    except pl.exceptions.PolarsError:
        return None
    return frame.select(RATING_COLUMNS) if frame.height == rows else None


def _blocks(
    chunks: Iterable[bytes], file: str, columns: tuple[str, ...]
) -> Iterator[tuple[Header, int, bytes]]:
    """Cuts a CSV at line breaks: its header, the number of a block's first line, the block."""
    header: Header | None = None
    line = 1
    for block in _ahead(_whole_lines(chunks, file)):
        body = block
        if header is None:
            first, _, body = block.partition(b"\n")
            header = read_header(first, file, columns)
            line = 2
        if body:
            yield header, line, body
            line += _count_lines(body)
    if header is None:
        read_header(b"", file, columns)


def _count_lines(block: bytes) -> int:
    # Three times as fast as bytes.count, which is made for rarer bytes.
    return int(np.count_nonzero(np.frombuffer(block, np.uint8) == _LINE_FEED))


def _ahead(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The same blocks, the next one inflated in a thread while the last one is parsed."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, blocks, b"")
        while block := coming.result():
            coming = pool.submit(next, blocks, b"")
            yield block


def _whole_lines(chunks: Iterable[bytes], file: str) -> Iterator[bytes]:
    """Blocks of whole lines, each line ended by a line feed alone."""
    waiting: list[bytes] = []
    size = unended = 0
    for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        end = chunk.rfind(b"\n")
        unended = unended + len(chunk) if end < 0 else len(chunk) - end - 1
        if unended > MAX_LINE_BYTES:
            raise DatasetError(
                f"{file} has a line that does not end",
                found=f"{unended} bytes without a line break",
                expected=f"lines of at most {MAX_LINE_BYTES} bytes, ended by LF or CRLF",
                hint=f"write {file} as plain CSV",
            )
        if size >= BLOCK_BYTES and unended < size:
            block = b"".join(waiting)
            cut = size - unended
            waiting, size = [block[cut:]], unended
            yield _line_feeds(block[:cut])
    if size:
        block = b"".join(waiting)
        yield _line_feeds(block if block.endswith(b"\n") else block + b"\n")


def _line_feeds(block: bytes) -> bytes:
    return block.replace(b"\r\n", b"\n") if b"\r" in block else block
