from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from unittest import mock

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys.errors import DatasetError
from recsys.features import Rule, csv_blocks, read_movies, read_ratings
from recsys.features.csv_blocks import MAX_LINE_BYTES
from recsys.features.validation import Header, RatingRow, parse_rating, split_line
from tests.examples import examples

HEADER = b"userId,movieId,rating,timestamp"
KNOWN = pl.Series([1, 2, 3, 2**31 - 1], dtype=pl.Int32)
PLAIN = Header(4, (0, 1, 2, 3))

valid_lines = st.builds(
    lambda user, movie, half_stars, time: f"{user},{movie},{half_stars / 2},{time}".encode(),
    st.integers(1, 2**31 - 1),
    st.sampled_from(KNOWN.to_list()),
    st.integers(1, 10),
    st.integers(0, 4_102_444_799),
)


# Near misses: text that a parser might wrongly accept as a number or as a line.
def with_quotes(line: bytes, quoted: list[bool]) -> bytes:
    fields = line.split(b",")
    return b",".join(
        b'"' + field + b'"' if is_quoted else field
        for field, is_quoted in zip(fields, quoted, strict=False)
    )


quoted_lines = st.builds(
    with_quotes, valid_lines, st.lists(st.booleans(), min_size=4, max_size=4)
) | st.builds(with_quotes, valid_lines, st.just([True] * 4))
# Quotes where they are valid and where they are not: inside a field, around two, not closed.
stray_quotes = st.builds(
    lambda line, places: bytes(
        byte for at, own in enumerate(line) for byte in (*b'"' * places.count(at), own)
    ),
    valid_lines | quoted_lines,
    st.lists(st.integers(0, 30), max_size=4),
)
odd_lines = st.one_of(
    stray_quotes,
    st.text('019.,"', max_size=16).map(str.encode),
    st.text('0123456789.,-+e "\tx\x00\ré', max_size=25).map(str.encode),
    st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")),
    st.lists(st.from_regex(r"[0-9.]{0,22}", fullmatch=True), min_size=3, max_size=5).map(
        lambda fields: ",".join(fields).encode()
    ),
    st.just(b""),
)
files = st.lists(st.one_of(valid_lines, quoted_lines, odd_lines), max_size=30)


def in_pieces(content: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def read(chunks: Iterable[bytes]) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]], int]:
    rows: list[tuple[object, ...]] = []
    rejected: list[tuple[object, ...]] = []
    count = 0
    for batch in read_ratings(chunks, KNOWN):
        rows += batch.rows.sort("line").rows()
        rejected += batch.rejected.frame.select("rule", "line").rows()
        count += batch.read
    return rows, rejected, count


def parsed_one_by_one(
    lines: list[bytes],
) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]], int]:
    rows: list[tuple[object, ...]] = []
    rejected: list[tuple[object, ...]] = []
    for number, line in enumerate(lines, 2):
        if line.removesuffix(b"\r"):
            row = parse_rating(line.removesuffix(b"\r"), PLAIN)
            if isinstance(row, RatingRow) and row.movie_id not in KNOWN:
                row = Rule.UNKNOWN_MOVIE
            if isinstance(row, Rule):
                rejected.append((row.value, number))
            else:
                rows.append((*row, number))
    return rows, rejected, len(rows) + len(rejected)


@settings(max_examples=examples(200))
@example([b"\r\r", b""], 1, 1)
@given(files, st.integers(1, 60), st.integers(1, 200))
def test_whether_a_row_is_valid_depends_neither_on_its_neighbors_nor_on_blocks(
    lines: list[bytes], piece: int, block: int
) -> None:
    content = b"\n".join([HEADER, *lines])
    with mock.patch.object(csv_blocks, "BLOCK_BYTES", block):
        found = read(in_pieces(content, piece))
    assert found == parsed_one_by_one(lines)
    assert found == read([content])


@settings(max_examples=examples(200))
@given(st.lists(st.one_of(quoted_lines, quoted_lines, stray_quotes), max_size=30))
def test_quotes_around_numbers_change_nothing_and_other_quotes_are_judged_by_line(
    lines: list[bytes],
) -> None:
    assert read([b"\n".join([HEADER, *lines])]) == parsed_one_by_one(lines)


def parsed_in_dialect(
    lines: list[bytes], separator: str, *, has_blanks: bool
) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]], int]:
    """Splits each line on its own, then writes it with commas and reads it."""
    plain = []
    for line in lines:
        text = line.removesuffix(b"\r").decode(errors="surrogateescape")
        fields = split_line(text, separator)
        if fields is None and separator == "\t":
            fields = text.split("\t")
        if fields:
            fields = [field.strip(" ") if has_blanks else field for field in fields]
            if separator != "," and len(fields) > 2:
                fields[2] = fields[2].replace(",", ".")
            written = io.StringIO()
            csv.writer(written, lineterminator="").writerow(fields)
            text = written.getvalue()
        plain.append(text.encode(errors="surrogateescape"))
    return parsed_one_by_one(plain)


dialects = st.sampled_from([(";", False), ("\t", False), ("|", False), (",", True), (";", True)])


@settings(max_examples=examples(300))
@given(
    dialects,
    st.lists(st.one_of(quoted_lines, quoted_lines, odd_lines), max_size=20),
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from([b" ", b"  ", b"   ", b","]))),
)
def test_lines_of_another_dialect_are_judged_each_on_its_own(
    dialect: tuple[str, bool], lines: list[bytes], inserted: list[tuple[int, bytes]]
) -> None:
    separator, has_blanks = dialect
    edge = separator.encode()
    written = [line.replace(b",", edge + b" " * has_blanks) for line in lines]
    for (place, what), number in zip(inserted, range(len(written)), strict=False):
        written[number] = written[number][:place] + what + written[number][place:]
    # Enough plain rows for the separator at the end of a line to be no matter.
    written += [edge.join([b"1", b"1", b"4.0", b"10"])] * 6
    header = HEADER.replace(b",", edge + b" " * has_blanks)
    found = read([b"\n".join([header, *written])])
    assert found == parsed_in_dialect(written, separator, has_blanks=has_blanks)


@pytest.mark.parametrize("line", [b'""', b"  ", b'"1";"1";"4.0";"10"', b"1;;;", b'"1;1";1;4;5'])
def test_a_line_is_no_other_without_its_quotes_or_blanks(line: bytes) -> None:
    for has_blanks in (False, True):
        blank = b" " * has_blanks
        written = [b"1;1;4.0;10".replace(b";", b";" + blank)] * 6 + [line]
        found = read([b"\n".join([HEADER.replace(b",", b";" + blank), *written])])
        assert found == parsed_in_dialect(written, ";", has_blanks=has_blanks)


@given(
    st.lists(valid_lines, max_size=30),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_valid_rows_are_read_exactly(
    lines: list[bytes], line_break: bytes, ends: bool, bom: bytes
) -> None:
    content = bom + line_break.join([HEADER, *lines]) + (line_break if ends else b"")
    rows, rejected, count = read([content])
    assert not rejected
    assert count == len(lines)
    assert [f"{u},{m},{r},{t}".encode() for u, m, r, t, _ in rows] == lines
    assert [row[-1] for row in rows] == list(range(2, len(lines) + 2))


def test_quarantine_stores_the_truncated_line_and_its_number() -> None:
    lines = [b"1,1,4.0,10", b"1,2,9,11", b"", b"1,\xff,4.0,12", b"x" * 5000, b"1,77,4.0,13"]
    (batch,) = read_ratings([b"\r\n".join([HEADER, *lines])], KNOWN)
    assert batch.rejected.frame.rows() == [
        ("rating_range", "ratings.csv", 3, "1,2,9,11"),
        ("encoding", "ratings.csv", 5, "1,\\xff,4.0,12"),
        ("field_count", "ratings.csv", 6, "x" * 300),
        ("unknown_movie", "ratings.csv", 7, "1,77,4.0,13"),
    ]
    assert batch.read == 5


def test_columns_may_come_in_any_order_among_others() -> None:
    content = b"timestamp,comment,rating,movieId,userId\n10,fine,4.0,2,7\n11,12,0.5,1,8\n"
    rows, rejected, _ = read([content])
    assert rows == [(7, 2, 4.0, 10, 2), (8, 1, 0.5, 11, 3)]
    assert not rejected


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"userId,movieId,rating\n1,1,4.0\n", b"1,1,4.0,10\n"]
)
def test_a_file_without_the_columns_is_refused(content: bytes) -> None:
    with pytest.raises(DatasetError, match="columns"):
        list(read_ratings([content] if content else [], KNOWN))


def test_an_endless_line_is_refused_before_it_fills_memory() -> None:
    taken = Counter[str]()

    def endless() -> Iterator[bytes]:
        yield HEADER + b"\n"
        while True:
            taken["pieces"] += 1
            yield b"1" * 65_536

    with pytest.raises(DatasetError, match="a line that is too long"):
        list(read_ratings(endless(), KNOWN))
    assert taken["pieces"] <= MAX_LINE_BYTES // 65_536 + 1


def test_movies_are_sorted_and_the_last_row_of_an_id_is_kept() -> None:
    content = (
        b"movieId,title,genres\r\n"
        b'3,"American President, The (1995)",Comedy|Drama\r\n'
        b"1,Toy Story (1994),Comedy\r\n"
        b"x,Broken (1995),Comedy\r\n"
        b"1,Toy Story (1995),(no genres listed)\r\n"
    )
    batch = read_movies([content])
    assert batch.rows.rows() == [
        (1, "Toy Story (1995)", 1995, []),
        (3, "American President, The (1995)", 1995, ["Comedy", "Drama"]),
    ]
    assert batch.rejected.frame.rows() == [
        ("duplicate", "movies.csv", 3, "1,Toy Story (1994),Comedy"),
        ("wrong_type", "movies.csv", 4, "x,Broken (1995),Comedy"),
    ]
    assert batch.read == 4


def test_a_stray_quote_rejects_one_row_only() -> None:
    content = b'movieId,title,genres\n1,"Toy Story (1995),Comedy\n2,Jumanji (1995),Adventure\n'
    batch = read_movies([content])
    assert batch.rows["movieId"].to_list() == [2]
    assert batch.rejected.frame["rule"].to_list() == ["field_count"]
