from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from unittest import mock

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import DatasetError
from recsys.features import Rule, csv_blocks, read_movies, read_ratings
from recsys.features.csv_blocks import MAX_LINE_BYTES
from recsys.features.validation import Header, RatingRow, parse_rating
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
odd_lines = st.one_of(
    st.text('0123456789.,-+e "\tx\x00\ré', max_size=25).map(str.encode),
    st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")),
    st.lists(st.from_regex(r"[0-9.]{0,22}", fullmatch=True), min_size=3, max_size=5).map(
        lambda fields: ",".join(fields).encode()
    ),
    st.just(b""),
)
files = st.lists(st.one_of(valid_lines, valid_lines, odd_lines), max_size=30)


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
@given(files, st.integers(1, 60), st.integers(1, 200))
def test_whether_a_row_is_valid_depends_neither_on_its_neighbors_nor_on_blocks(
    lines: list[bytes], piece: int, block: int
) -> None:
    content = b"\n".join([HEADER, *lines])
    with mock.patch.object(csv_blocks, "BLOCK_BYTES", block):
        found = read(in_pieces(content, piece))
    assert found == parsed_one_by_one(lines)
    assert found == read([content])


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
