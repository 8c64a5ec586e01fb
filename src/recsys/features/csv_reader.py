"""Streams the two CSV files of a dataset into data frames, in bounded memory.

Ratings are parsed in blocks by polars. Polars only gets lines of digits, points and commas, for
which it and `validation.parse_rating` agree; quotes around such fields are left out before. A line
that polars cannot parse, or whose values are out of range, is parsed again on its own by
`parse_rating`. So invalid rows make a block slower, but whether a row is valid never depends on its
neighbors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.contract import NARROW, STARS, STEP, WIDE, IdBits, RatingScale
from recsys.dataset import MOVIE_COLUMNS, MOVIES_CSV, RATING_COLUMNS, RATINGS_CSV
from recsys.features.csv_blocks import LINE_FEED, count_lines, csv_blocks
from recsys.features.csv_quotes import needed_quotes
from recsys.features.erased_users import ErasedUsers, without_erased
from recsys.features.quarantine import Rejected
from recsys.features.rules import MAX_TIMESTAMP, Rule
from recsys.features.validation import (
    MOVIE_SCHEMA,
    NONE_GIVEN,
    RATING_SCHEMA,
    Header,
    MovieRow,
    RatingRow,
    parse_movie,
    parse_rating,
    with_ids,
)

_NUMERIC: Final = b'0123456789.,\n"'
_IS_NUMERIC: Final = np.isin(np.arange(256), np.frombuffer(_NUMERIC, np.uint8))
_COMMA: Final = ord(",")
# float64, as in `parse_rating`: in float32, 3.50000001 would equal 3.5.
_PARSED: Final = pl.Schema(
    {
        "userId": pl.Int32(),
        "movieId": pl.Int32(),
        "rating": pl.Float64(),
        "timestamp": pl.Int64(),
    }
)
_IN_RANGE: Final = (
    (pl.col("userId") >= 1)
    & (pl.col("movieId") >= 1)
    & (pl.col("rating") % STEP == 0)
    & pl.col("timestamp").is_between(0, MAX_TIMESTAMP, closed="left")
)


@dataclass(frozen=True)
class Batch:
    """Rows of a file or of a part of it.

    Attributes:
        rows: the valid rows.
        rejected: the invalid rows.
        read: number of rows read; blank lines do not count.
    """

    rows: pl.DataFrame
    rejected: Rejected
    read: int


def read_movies(
    chunks: Iterable[bytes], given: Mapping[str, str] = NONE_GIVEN, id_bits: IdBits = NARROW
) -> Batch:
    """Reads all of movies.csv (a few megabytes). Rows are sorted by movieId, which is unique.

    Args:
        chunks: the file in chunks of any size.
        given: names by which columns are looked for; see `validation.find_columns`.
        id_bits: width of the ids.

    Raises:
        DatasetError: a column is missing, or a line is longer than 1 MiB.
    """
    movies: dict[int, tuple[int, bytes, MovieRow]] = {}
    rejected = Rejected(MOVIES_CSV)
    read = 0
    for header, first_line, block in csv_blocks(chunks, MOVIES_CSV, MOVIE_COLUMNS, given=given):
        rejected.header = header
        for number, line in enumerate(block.split(b"\n"), first_line):
            if not line:
                continue
            read += 1
            movie = parse_movie(line, header, id_bits)
            if isinstance(movie, Rule):
                rejected.add(movie, number, line)
                continue
            if replaced := movies.get(movie.movie_id):
                rejected.add(Rule.DUPLICATE, replaced[0], replaced[1])
            movies[movie.movie_id] = (number, line, movie)
    return Batch(_movie_frame([m for _, _, m in movies.values()], id_bits), rejected, read)


def _movie_frame(movies: list[MovieRow], id_bits: IdBits) -> pl.DataFrame:
    """Makes the table of movies, sorted by movieId."""
    # Lists of genres cost 0.1 ms each if they pass from Python to polars one by one. As one string
    # of a movie they do not: no genre contains the character that separates them.
    genres = pl.Series(["|".join(movie.genres) or None for movie in movies], dtype=pl.String)
    columns = {
        "movieId": [movie.movie_id for movie in movies],
        "title": [movie.title for movie in movies],
        "year": [movie.year for movie in movies],
        "genres": genres.str.split("|").fill_null([]),
    }
    return pl.DataFrame(columns, schema=with_ids(MOVIE_SCHEMA, id_bits)).sort("movieId")


def read_ratings(
    chunks: Iterable[bytes],
    movie_ids: pl.Series,
    erased: ErasedUsers | None = None,
    given: Mapping[str, str] = NONE_GIVEN,
    scale: RatingScale = STARS,
) -> Iterator[Batch]:
    """Yields ratings.csv block by block, in ``RATING_SCHEMA``; a block's rows are in any order.

    Args:
        chunks: the file in chunks of any size; consumed in a separate thread.
        movie_ids: the movies of movies.csv; all ids have its width.
        erased: users whose rows are left out.
        given: names by which columns are looked for; see `validation.find_columns`.
        scale: of the ratings.

    Raises:
        DatasetError: a column is missing, or a line is longer than 1 MiB.
    """
    parser = RatingParser(movie_ids, erased, scale)
    for block in rating_blocks(chunks, given):
        yield parser.parse(block)


@dataclass(frozen=True)
class RatingBlock:
    """Some complete lines of ratings.csv, which can be parsed without the rest of the file.

    Attributes:
        header: header of the file.
        first_line: line number of the first line; the header is line 1.
        lines: the lines, each ended by LF.
    """

    header: Header
    first_line: int
    lines: bytes


def rating_blocks(
    chunks: Iterable[bytes], given: Mapping[str, str] = NONE_GIVEN
) -> Iterator[RatingBlock]:
    """Splits ratings.csv into blocks of about `csv_blocks.BLOCK_BYTES`.

    Args:
        chunks: the file in chunks of any size; consumed in a separate thread.
        given: names by which columns are looked for; see `validation.find_columns`.

    Raises:
        DatasetError: a column is missing, or a line is longer than 1 MiB.
    """
    for header, first_line, lines in csv_blocks(
        chunks, RATINGS_CSV, RATING_COLUMNS, decimal="rating", given=given
    ):
        yield RatingBlock(header, first_line, lines)


class RatingParser:
    """Parses and validates blocks of ratings.csv independently of each other.

    Args:
        movie_ids: the movies of movies.csv; all ids have its width.
        erased: users whose rows are left out.
        scale: of the ratings.
    """

    def __init__(
        self,
        movie_ids: pl.Series,
        erased: ErasedUsers | None = None,
        scale: RatingScale = STARS,
    ) -> None:
        self._erased = erased
        self._scale = scale
        self._id_bits: IdBits = WIDE if movie_ids.dtype == pl.Int64 else NARROW
        self._parsed = with_ids(_PARSED, self._id_bits)
        self._known = frozenset(movie_ids.to_list())
        self._valid = (
            _IN_RANGE
            & pl.col("rating").is_between(scale.min, scale.max)
            & pl.col("movieId").is_in(movie_ids.implode())
        )

    def parse(self, block: RatingBlock) -> Batch:
        """Returns the valid rows (``RATING_SCHEMA``, in any order) and the rejected ones."""
        lines = _Lines(block.lines)
        frame, remaining = _parse_lines(lines, block.header, self._parsed, self._valid)
        parsed: list[tuple[int, int, float, int, int]] = []
        rejected = Rejected(RATINGS_CSV, header=block.header)
        for index in remaining.tolist():
            line = lines[index]
            if not line:
                continue
            rating = parse_rating(line, block.header, self._scale, self._id_bits)
            if isinstance(rating, RatingRow) and rating.movie_id not in self._known:
                rating = Rule.UNKNOWN_MOVIE
            if isinstance(rating, Rule):
                rejected.add(rating, block.first_line + index, line)
            else:
                parsed.append((*rating, index))
        rows = frame.select(
            "userId",
            "movieId",
            pl.col("rating").cast(pl.Float32),
            "timestamp",
            line=pl.col("index") + block.first_line,
        )
        if parsed:
            schema = with_ids(RATING_SCHEMA, self._id_bits)
            others = pl.DataFrame(parsed, schema=schema, orient="row")
            rows = pl.concat([rows, others.with_columns(pl.col("line") + block.first_line)])
        read = rows.height + rejected.counts.total()
        if self._erased:
            rows, rejected = without_erased(rows, rejected, self._erased)
        return Batch(rows, rejected, read)


class _Lines:
    """The lines of a block; line ends are searched at the first use."""

    def __init__(self, block: bytes) -> None:
        self.block = block
        self.count = count_lines(block)

    @cached_property
    def _bytes(self) -> npt.NDArray[np.uint8]:
        return np.frombuffer(self.block, np.uint8)

    @cached_property
    def _ends(self) -> npt.NDArray[np.int64]:
        return np.flatnonzero(self._bytes == LINE_FEED)

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        return np.concatenate([np.zeros(1, np.int64), self._ends[:-1] + 1])

    def __getitem__(self, index: int) -> bytes:
        return self.block[self._starts[index] : self._ends[index]]

    @cached_property
    def needed_quotes(self) -> npt.NDArray[np.bool_] | None:
        """See `csv_quotes`; None if the block has no quotes."""
        return needed_quotes(self._bytes, _COMMA) if b'"' in self.block else None

    def are_numeric(self, width: int) -> npt.NDArray[np.bool_]:
        """Mask of the lines of ``width`` fields of digits and points, with or without quotes."""
        foreign = ~_IS_NUMERIC[self._bytes]
        if self.needed_quotes is not None:
            foreign |= self.needed_quotes
        commas = np.add.reduceat(self._bytes == _COMMA, self._starts, dtype=np.int32)
        numeric: npt.NDArray[np.bool_] = np.equal(commas, width - 1)
        numeric[np.searchsorted(self._ends, np.flatnonzero(foreign))] = False
        return numeric

    def select(self, mask: npt.NDArray[np.bool_]) -> bytes:
        """Returns the lines that ``mask`` selects, joined, without quotes."""
        selected = self._bytes[np.repeat(mask, self._ends - self._starts + 1)].tobytes()
        return selected if self.needed_quotes is None else selected.translate(None, b'"')


def _parse_lines(
    lines: _Lines, header: Header, types: pl.Schema, valid: pl.Expr
) -> tuple[pl.DataFrame, npt.NDArray[np.int64]]:
    """Parses the numeric lines: valid rows with their ``index``, and the remaining indices."""
    frame = None
    if not lines.block.translate(None, _NUMERIC):
        if lines.needed_quotes is None:
            frame = _parse(lines.block, lines.count, header, types)
        elif not lines.needed_quotes.any():
            frame = _parse(lines.block.translate(None, b'"'), lines.count, header, types)
    if frame is not None:
        frame = frame.with_row_index("index")
    else:
        numeric = lines.are_numeric(header.width)
        frame = _parse(lines.select(numeric), int(numeric.sum()), header, types)
        if frame is None:
            frame, numeric = pl.DataFrame(schema=types), np.zeros(lines.count, np.bool_)
        frame = frame.with_columns(index=pl.Series(np.flatnonzero(numeric), dtype=pl.UInt32))
    frame = frame.filter(valid)
    if frame.height == lines.count:
        return frame, np.empty(0, np.int64)
    remaining = np.ones(lines.count, np.bool_)
    remaining[frame["index"].to_numpy()] = False
    return frame, np.flatnonzero(remaining)


def _parse(block: bytes, rows: int, header: Header, types: pl.Schema) -> pl.DataFrame | None:
    """Parses a block, with null for an invalid value; None unless each line gives one row."""
    names = [f"unused {i}" for i in range(header.width)]
    for name, position in zip(RATING_COLUMNS, header.positions, strict=True):
        names[position] = name
    schema = {name: types.get(name, pl.String()) for name in names}
    try:
        frame = pl.read_csv(
            block, has_header=False, schema=schema, quote_char=None, ignore_errors=True
        )
    except pl.exceptions.PolarsError:
        return None
    return frame.select(RATING_COLUMNS) if frame.height == rows else None
