"""CSV files as spreadsheets, databases and old programs write them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest

from recsys.contract import FeatureSettings
from recsys.dataset import MOVIES_CSV, RATINGS_CSV
from recsys.errors import DatasetError
from recsys.features import Rule
from tests.unit.features.test_bad_csv import features

RATING_ROWS = [
    ["userId", "movieId", "rating", "timestamp"],
    *(
        [str(user), str(movie), f"{(user + movie) % 9 / 2 + 0.5}", str(10**9 + user)]
        for user in range(1, 31)
        for movie in (1, 2, 3)
    ),
]
MOVIE_ROWS = [
    ["movieId", "title", "genres"],
    ["1", "Amélie; or, the Fabulous (2001)", "Comedy|Romance"],
    ["2", 'The "Heat" (1995)', "Action|Crime"],
    ["3", "千と千尋の神隠し (2001)", "(no genres listed)"],
]


def table(rows: list[list[str]], **options: object) -> str:
    text = io.StringIO()
    csv.writer(text, **({"lineterminator": "\n"} | options)).writerows(rows)  # type: ignore[arg-type]
    return text.getvalue()


PLAIN = table(RATING_ROWS).encode(), table(MOVIE_ROWS).encode()


def everywhere(**options: object) -> tuple[bytes, bytes]:
    return table(RATING_ROWS, **options).encode(), table(MOVIE_ROWS, **options).encode()


def recoded(change: Callable[[str], bytes]) -> tuple[bytes, bytes]:
    return change(PLAIN[0].decode()), change(PLAIN[1].decode())


def changed(
    ratings: Callable[[list[str]], list[str]],
    movies: Callable[[list[str]], list[str]],
    **options: object,
) -> tuple[bytes, bytes]:
    return (
        table([ratings(row) for row in RATING_ROWS], **options).encode(),
        table([movies(row) for row in MOVIE_ROWS], **options).encode(),
    )


def same(row: list[str]) -> list[str]:
    return row


def decimal_comma(row: list[str]) -> list[str]:
    return [*row[:2], row[2].replace(".", ","), row[3]]


def renamed(*names: str) -> Callable[[list[str]], list[str]]:
    return lambda row: list(names) if row[-1] in ("timestamp", "genres") else row


READ = {
    "semicolons": everywhere(delimiter=";"),
    "tabs": everywhere(delimiter="\t"),
    "pipes": everywhere(delimiter="|"),
    "tabs without quotes": recoded(
        lambda text: (
            table(list(csv.reader(io.StringIO(text))), delimiter="\t")
            .replace('"The ""Heat"" (1995)"', 'The "Heat" (1995)')
            .encode()
        )
    ),
    "everything in quotes": everywhere(quoting=csv.QUOTE_ALL),
    "semicolons and quotes": everywhere(delimiter=";", quoting=csv.QUOTE_ALL),
    "decimal commas": changed(decimal_comma, same, delimiter=";"),
    "decimal commas in quotes": changed(decimal_comma, same, delimiter="\t", quoting=csv.QUOTE_ALL),
    "separator in the first line": recoded(
        lambda text: (
            b"\xef\xbb\xbfsep=;\r\n"
            + table(list(csv.reader(io.StringIO(text))), delimiter=";").encode()
        )
    ),
    "CRLF": everywhere(lineterminator="\r\n"),
    "CR": everywhere(lineterminator="\r"),
    "CRCRLF": everywhere(lineterminator="\r\r\n"),
    "UTF-8 with a mark": recoded(lambda text: text.encode("utf-8-sig")),
    "UTF-16": recoded(lambda text: text.encode("utf-16")),
    "UTF-16, big end first": recoded(lambda text: b"\xfe\xff" + text.encode("utf-16-be")),
    "UTF-16 without a mark": recoded(lambda text: text.encode("utf-16-le")),
    "UTF-16 with tabs and CRLF, as spreadsheets write 'Unicode text'": recoded(
        lambda text: table(
            list(csv.reader(io.StringIO(text))), delimiter="\t", lineterminator="\r\n"
        ).encode("utf-16")
    ),
    "UTF-32": recoded(lambda text: text.encode("utf-32")),
    "upper case": changed(
        renamed("USERID", "MOVIEID", "RATING", "TIMESTAMP"), renamed("MOVIEID", "TITLE", "GENRES")
    ),
    "names of database columns": changed(
        renamed("user_id", "movie_id", "rating", "timestamp"),
        renamed("movie_id", "title", "genres"),
    ),
    "other order": changed(lambda row: row[::-1], lambda row: [row[2], row[0], row[1]]),
    "more columns": changed(
        lambda row: [f"{row[0]}x", *row, "a,b"], lambda row: ["", *row, "\N{SNOWMAN}"]
    ),
    "trailing separators": recoded(lambda text: text.replace("\n", ",\n").encode()),
    "trailing separators of rows": recoded(
        lambda text: text.replace("\n", ",\n").replace(",\n", "\n", 1).encode()
    ),
    "trailing separator of the header": recoded(lambda text: text.replace("\n", ",\n", 1).encode()),
    "blanks behind separators": recoded(
        lambda text: "\n".join(
            line if '"' in line else line.replace(",", ", ") for line in text.splitlines()
        ).encode()
    ),
}


@pytest.mark.parametrize("tool", READ)
def test_what_another_tool_wrote_gives_the_same_features(tool: str) -> None:
    plain, odd = features(*PLAIN, FeatureSettings()), features(*READ[tool], FeatureSettings())
    assert odd[0].sha256 == plain[0].sha256
    assert odd[0].interactions == 90
    assert {file: found.quarantine for file, found in odd[0].files.items()} == {
        RATINGS_CSV: {},
        MOVIES_CSV: {},
    }


def test_line_numbers_and_rules_are_those_of_the_file_as_it_is() -> None:
    ratings, movies = READ["separator in the first line"]
    stats, _, quarantine = features(
        ratings + b'1;1;9;5\n1,1,4,5\n1;"1;4;5\n1;1;4,0;\xff\n;;;\n\n7;7;4;5\n', movies
    )
    assert stats.interactions == 90
    assert [(line, Rule(rule)) for rule, line in quarantine.select("rule", "line").rows()] == [
        (93, Rule.RATING_RANGE),
        (94, Rule.FIELD_COUNT),
        (95, Rule.FIELD_COUNT),
        (96, Rule.ENCODING),
        (97, Rule.WRONG_TYPE),
        (99, Rule.UNKNOWN_MOVIE),
    ]


def rows(change: Callable[[list[str]], list[str]]) -> bytes:
    return table([RATING_ROWS[0], *(change(row) for row in RATING_ROWS[1:])]).encode()


def column(index: int, change: Callable[[str], str]) -> bytes:
    return rows(lambda row: [*row[:index], change(row[index]), *row[index + 1 :]])


REFUSED_RATINGS = {
    "milliseconds": (column(3, lambda t: t + "000"), "in milliseconds: divide them by 1,000"),
    "microseconds": (column(3, lambda t: t + "000000"), "in microseconds"),
    "nanoseconds": (column(3, lambda t: t + "0" * 9), "in nanoseconds"),
    "before 1970": (column(3, lambda t: "-" + t), "before it"),
    "dates": (column(3, lambda t: "2005-04-02 23:53:47"), "is a date: write seconds since 1970"),
    "dates of another country": (column(3, lambda t: "02/04/2005"), "is a date"),
    "ISO dates": (column(3, lambda t: "2005-04-02T23:53:47Z"), "is a date"),
    "scale to 10": (
        column(2, lambda r: f"{float(r) * 2:.0f}"),
        'set features.scale to {"min": 1, "max": 10}',
    ),
    "scale to 100": (
        column(2, lambda r: f"{float(r) * 20:.0f}"),
        'set features.scale to {"min": 1, "max": 100}',
    ),
    "scale from 0 to 10": (
        column(2, lambda r: f"{float(r) * 2 - 1:.0f}"),
        'set features.scale to {"min": 0, "max": 10}',
    ),
    "scale to 1": (column(2, lambda r: f"{float(r) / 5.01:.2f}"), "multiply all ratings by 5"),
    "not rated": (column(2, lambda r: "0"), "'not rated'"),
    "thirds of stars": (column(2, lambda r: "3.3"), "half stars"),
    "decimal ids": (column(0, lambda u: f"{u}.0"), "write it as a whole number (1)"),
    "decimal timestamps": (column(3, lambda t: f"{t}.0"), "write it as a whole number"),
    "scientific": (column(3, lambda t: "9.64983E+08"), "rounded by a spreadsheet"),
    "scientific with a comma": (column(3, lambda t: "9,64983E+08"), "rounded by a spreadsheet"),
    "grouped digits": (column(3, lambda t: "1.000.000.001"), "separators between its digits"),
    "names": (column(0, lambda u: f"user{u}"), "give each one a number from 1 on"),
    "UUIDs": (column(0, lambda u: f"6ba7b810-9dad-{u}"), "give each one a number"),
    "zero-based": (column(0, lambda u: "0"), "userId starts at 1: add 1"),
    "snowflakes": (column(0, lambda u: f"{int(u) * 10**12}"), "set features.id_bits to 64"),
    "sha256": (column(0, lambda u: f"{int(u) * 10**70}"), "number them from 1 on"),
    "NULL": (column(2, lambda r: "NULL"), "'NULL' is missing: leave such rows out"),
    "NaN": (column(2, lambda r: "NaN"), "'NaN' is missing"),
    "empty": (column(3, lambda t: ""), "timestamp '' is missing"),
    "decimal commas": (column(2, lambda r: r.replace(".", ",")), "has a decimal comma"),
    "blanks": (column(0, lambda u: f" {u}"), "has blanks around it"),
    "apostrophes": (column(0, lambda u: f"'{u}"), "marked as text for a spreadsheet"),
    "formulas": (column(0, lambda u: f'="{u}"'), "marked as text for a spreadsheet"),
    "row names": (rows(lambda row: ["r", *row]), "rows have 5 fields and the header has 4"),
    "fewer fields": (rows(lambda row: row[:3]), "rows have 3 fields and the header has 4"),
    "Latin-1": (
        column(0, lambda u: "é").decode().encode("latin-1"),
        "`iconv -f WINDOWS-1252 -t UTF-8`",
    ),
    "control characters": (column(0, lambda u: "\x01"), "contains control characters"),
}


@pytest.mark.parametrize("kind", REFUSED_RATINGS)
def test_ratings_outside_the_rules_are_refused_with_the_right_advice(kind: str) -> None:
    content, advice = REFUSED_RATINGS[kind]
    with pytest.raises(DatasetError, match=r"ratings\.csv") as caught:
        features(content, PLAIN[1], FeatureSettings())
    assert advice in caught.value.hint
    assert caught.value.hint.isprintable()
    # With all shares tolerated, no row remains, and the advice is the same.
    if not kind.startswith("scale"):
        with pytest.raises(DatasetError, match="no valid row") as caught:
            features(content, PLAIN[1])
        assert advice in caught.value.hint


REFUSED_MOVIES = {
    "line break in a title": (
        b'movieId,title,genres\n1,"The\nHeat (1995)",Crime\n2,"A\nB",Crime\n3,C,Crime\n',
        "replace line breaks inside titles",
    ),
    "comma without quotes": (
        b"movieId,title,genres\n1,Heat, The (1995),Crime\n2,A,Crime\n3,B,Crime\n",
        "titles with a comma need quotes",
    ),
    "Windows-1252": (
        "movieId,title,genres\n1,Amélie \N{EN DASH} x,Comedy\n2,A,B\n3,A,B\n".encode("cp1252"),
        "reads '1,Amélie \N{EN DASH} x,Comedy'",
    ),
    "decimal ids": (
        b"movieId,title,genres\n1.0,A,B\n2.0,A,B\n3.0,A,B\n",
        "movieId '1.0' is written as a decimal number",
    ),
}


@pytest.mark.parametrize("kind", REFUSED_MOVIES)
def test_movies_outside_the_rules_are_refused_with_the_right_advice(kind: str) -> None:
    content, advice = REFUSED_MOVIES[kind]
    with pytest.raises(DatasetError, match=r"movies\.csv") as caught:
        features(PLAIN[0], content, FeatureSettings())
    assert advice in caught.value.hint


NOT_A_TABLE = {
    "no header": (
        PLAIN[0].partition(b"\n")[2],
        "put the line userId,movieId,rating,timestamp above",
    ),
    "older format": (b"1::1193::5::978300760\n", "MovieLens' older format"),
    "JSON": (b'[{"userId": 1}]\n', "HTML, XML or JSON"),
    "page": (b"<!DOCTYPE html>\n", "HTML, XML or JSON"),
    "workbook": (b"PK\x03\x04" + bytes(40), "export ratings.csv as CSV"),
    "gzip": (b"\x1f\x8b\x08\x00" + bytes(40), "export ratings.csv as CSV"),
    "parquet": (b"PAR1" + bytes(40), "export ratings.csv as CSV"),
    "two encodings": (
        "userId,movieId,rating,timestamp\n".encode("utf-16")
        + "\ud800".encode("utf-16-le", "surrogatepass"),
        "encoded as UTF-8",
    ),
    "other names": (b"person,thing,liking,day\n1,1,4,5\n", "name the columns in the first line"),
    "too wide": (b"userId;movieId;rating;timestamp" + b";x" * 200 + b"\n", "MovieLens format"),
}


@pytest.mark.parametrize("kind", NOT_A_TABLE)
def test_what_is_no_table_is_named(kind: str) -> None:
    content, hint = NOT_A_TABLE[kind]
    with pytest.raises(DatasetError, match=r"^ratings\.csv") as caught:
        features(content, PLAIN[1])
    assert hint in caught.value.hint
