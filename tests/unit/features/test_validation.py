from __future__ import annotations

import pytest

from recsys.dataset import MOVIE_COLUMNS, RATING_COLUMNS
from recsys.errors import DatasetError
from recsys.features import Rule
from recsys.features.csv_dialect import Dialect, read_dialect
from recsys.features.validation import (
    Header,
    MovieRow,
    RatingRow,
    parse_movie,
    parse_rating,
)

RATINGS = Header(4, (0, 1, 2, 3))
MOVIES = Header(3, (0, 1, 2))


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (b"1,2,3.5,964982703", RatingRow(1, 2, 3.5, 964982703)),
        (b'"1","2","5","0"', RatingRow(1, 2, 5.0, 0)),
        (b"2147483647,2147483647,.5,4102444799", RatingRow(2**31 - 1, 2**31 - 1, 0.5, 4102444799)),
        (b"007,0001,4.,1", RatingRow(7, 1, 4.0, 1)),
    ],
)
def test_a_valid_rating_is_parsed(line: bytes, row: RatingRow) -> None:
    assert parse_rating(line, RATINGS) == row


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b"1,2,3.5,\xff", Rule.ENCODING),
        (b"1,2,3.5\x00,4", Rule.ENCODING),
        (b"1,2\r,3.5,4", Rule.ENCODING),
        (b"1,2,3.5", Rule.FIELD_COUNT),
        (b"1,2,3.5,4,5", Rule.FIELD_COUNT),
        (b"1,2,3.5,4,", Rule.FIELD_COUNT),
        (b'1,2,3.5,"4', Rule.FIELD_COUNT),
        (b"hello", Rule.FIELD_COUNT),
        (b"1,2,,4", Rule.WRONG_TYPE),
        (b"1,x,3.5,4", Rule.WRONG_TYPE),
        (b"1.0,2,3.5,4", Rule.WRONG_TYPE),
        (b"+1,2,3.5,4", Rule.WRONG_TYPE),
        (b" 1,2,3.5,4", Rule.WRONG_TYPE),
        (b"1,2,nan,4", Rule.WRONG_TYPE),
        (b"1,2,inf,4", Rule.WRONG_TYPE),
        (b"1,2,3e0,4", Rule.WRONG_TYPE),
        ("1,2,\u0663,4".encode(), Rule.WRONG_TYPE),
        (b"0,2,3.5,4", Rule.USER_ID_RANGE),
        (b"-1,2,3.5,4", Rule.USER_ID_RANGE),
        (b"2147483648,2,3.5,4", Rule.USER_ID_RANGE),
        (b"4294967297,2,3.5,4", Rule.USER_ID_RANGE),
        (b"1" * 10_000 + b",2,3.5,4", Rule.USER_ID_RANGE),
        (b"1,18446744073709551617,3.5,4", Rule.MOVIE_ID_RANGE),
        (b"1,0,3.5,4", Rule.MOVIE_ID_RANGE),
        (b"1,2,0.0,4", Rule.RATING_RANGE),
        (b"1,2,7,4", Rule.RATING_RANGE),
        (b"1,2,-3.5,4", Rule.RATING_RANGE),
        (b"1,2,3.3,4", Rule.RATING_RANGE),
        (b"1,2,3.50000001,4", Rule.RATING_RANGE),
        (b"1,2,3.5,-1", Rule.TIMESTAMP_RANGE),
        (b"1,2,3.5,964982703000", Rule.TIMESTAMP_RANGE),
        (b"1,2,3.5,99999999999999999999", Rule.TIMESTAMP_RANGE),
    ],
)
def test_an_invalid_rating_gives_the_first_rule_that_it_violates(line: bytes, rule: Rule) -> None:
    assert parse_rating(line, RATINGS) is rule


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (
            b"1,Toy Story (1995),Adventure|Comedy",
            MovieRow(1, "Toy Story (1995)", 1995, ["Adventure", "Comedy"]),
        ),
        (
            b'11,"American President, The (1995)",Drama',
            MovieRow(11, "American President, The (1995)", 1995, ["Drama"]),
        ),
        (
            b'5,"""Great Performances"" Cats (1998) ",Musical',
            MovieRow(5, '"Great Performances" Cats (1998)', 1998, ["Musical"]),
        ),
        (
            "6,Misérables\u2014Les (1995\u20131997),Drama".encode(),
            MovieRow(6, "Misérables\u2014Les (1995\u20131997)", 1995, ["Drama"]),
        ),
        (b"7,Babylon 5,(no genres listed)", MovieRow(7, "Babylon 5", None, [])),
        (b"8,2001 (0000),", MovieRow(8, "2001 (0000)", None, [])),
    ],
)
def test_a_valid_movie_is_parsed(line: bytes, row: MovieRow) -> None:
    assert parse_movie(line, MOVIES) == row


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b"1,Caf\xe9 (1995),Drama", Rule.ENCODING),
        (b"1,A,B (1995),Drama", Rule.FIELD_COUNT),
        (b'1,"A (1995),Drama', Rule.FIELD_COUNT),
        (b"one,A (1995),Drama", Rule.WRONG_TYPE),
        (b"0,A (1995),Drama", Rule.MOVIE_ID_RANGE),
        (b"1,  ,Drama", Rule.TITLE_LENGTH),
        (b"1," + b"A" * 501 + b",Drama", Rule.TITLE_LENGTH),
    ],
)
def test_an_invalid_movie_gives_the_first_rule_that_it_violates(line: bytes, rule: Rule) -> None:
    assert parse_movie(line, MOVIES) is rule


def test_columns_are_found_by_name_after_a_byte_order_mark() -> None:
    line = b"\xef\xbb\xbftimestamp,rating,comment,movieId,userId"
    dialect, rows = read_dialect(line + b"\n1\n", "ratings.csv", RATING_COLUMNS, "rating")
    assert dialect == Dialect(Header(5, (4, 3, 1, 0)), first_row=2)
    assert rows == b"1\n"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"movieId,genres",
        b"movieId,title,genres,title",
        b"1,Toy Story (1995),Comedy",
        "movieId,title,genres".encode("utf-16"),
        b"<html>",
    ],
)
def test_a_header_without_the_columns_is_refused(line: bytes) -> None:
    with pytest.raises(DatasetError, match="columns") as caught:
        read_dialect(line + b"\n", "movies.csv", MOVIE_COLUMNS, None)
    assert caught.value.expected == "movieId,title,genres"
