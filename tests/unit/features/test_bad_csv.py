"""Hostile and damaged CSV ends in one clear error or in quarantine, in bounded memory."""

from __future__ import annotations

import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.contract import FeatureSettings, RuleShares
from recsys.dataset import MOVIES_CSV, RATINGS_CSV, ArchiveLimits, open_dataset
from recsys.errors import DatasetError, PermanentError
from recsys.features import Rule, Stats, interactions, make_features, read_movies, read_ratings
from recsys.features.validation import MAX_COLUMNS
from tests.examples import examples

HEADER = b"userId,movieId,rating,timestamp\n"
MOVIES_HEADER = b"movieId,title,genres\n"
MOVIES = MOVIES_HEADER + b"1,Toy Story (1995),Comedy\n2,Heat (1995),Action|Crime\n"
GOOD = b"".join(
    b"%d,%d,4.0,%d\n" % (user, movie, user) for user in range(1, 31) for movie in (1, 2)
)
KNOWN = pl.Series([1, 2], dtype=pl.Int32)
ALL_TOLERATED = FeatureSettings(
    max_quarantine_share=1.0,
    max_rule_shares=RuleShares(**dict.fromkeys(RuleShares.model_fields, 1.0)),
)
INVALID_RATINGS = {
    Rule.ENCODING: b"1,1,4.0,\xff5",
    Rule.FIELD_COUNT: b"1,1,4.0",
    Rule.WRONG_TYPE: b"one,1,4.0,5",
    Rule.USER_ID_RANGE: b"0,1,4.0,5",
    Rule.MOVIE_ID_RANGE: b"1,-1,4.0,5",
    Rule.RATING_RANGE: b"1,1,5.5,5",
    Rule.TIMESTAMP_RANGE: b"1,1,4.0,-1",
    Rule.UNKNOWN_MOVIE: b"1,3,4.0,5",
    Rule.DUPLICATE: b"1,1,4.0,0",
}
INVALID_MOVIES = {
    Rule.ENCODING: b"3,Caf\xe9 (1995),Drama",
    Rule.FIELD_COUNT: b"3,A,B,C,D",
    Rule.WRONG_TYPE: b"three,Heat (1995),Drama",
    Rule.MOVIE_ID_RANGE: b"-3,Heat (1995),Drama",
    Rule.TITLE_LENGTH: b"3,,Drama",
    Rule.DUPLICATE: b"2,Heat (1995),Crime",
}


def features(
    ratings: bytes, movies: bytes = MOVIES, settings: FeatureSettings = ALL_TOLERATED
) -> tuple[Stats, pl.DataFrame, pl.DataFrame]:
    """Statistics, interactions and quarantine."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        with zipfile.ZipFile(folder / "in.zip", "w") as archive:
            archive.writestr(RATINGS_CSV, ratings)
            archive.writestr(MOVIES_CSV, movies)
        with open_dataset(folder / "in.zip") as dataset:
            stats = make_features(dataset, "0" * 32, settings, folder)
        tables = (pl.read_parquet(folder / f"{n}.parquet") for n in ("interactions", "quarantine"))
        return stats, *tables


def rules_of(ratings: bytes) -> dict[Rule, int]:
    return features(HEADER + GOOD + ratings)[0].files[RATINGS_CSV].quarantine


def test_the_examples_violate_every_rule() -> None:
    # Which users were erased is no property of a row: tests/unit/features/test_erased_users.py.
    assert set(INVALID_RATINGS) | set(INVALID_MOVIES) == set(Rule) - {Rule.ERASED}


@pytest.mark.parametrize("rule", INVALID_RATINGS)
def test_one_violation_rejects_that_row_only(rule: Rule) -> None:
    stats, interactions, quarantine = features(HEADER + INVALID_RATINGS[rule] + b"\n" + GOOD)
    assert stats.files[RATINGS_CSV].quarantine == {rule: 1}
    assert quarantine.select("rule", "file", "line").rows() == [(rule.value, RATINGS_CSV, 2)]
    assert interactions.height == 60


@pytest.mark.parametrize("rule", INVALID_MOVIES)
def test_one_violation_in_movies_rejects_that_movie_only(rule: Rule) -> None:
    stats, _, quarantine = features(HEADER + GOOD, MOVIES + INVALID_MOVIES[rule] + b"\n")
    assert stats.files[MOVIES_CSV].quarantine == {rule: 1}
    # The later row of a movie replaces the earlier one.
    line = 3 if rule is Rule.DUPLICATE else 4
    assert quarantine.select("rule", "file", "line").rows() == [(rule.value, MOVIES_CSV, line)]
    assert stats.movies == 2


@given(
    st.permutations(list(INVALID_RATINGS.values())), st.permutations(list(INVALID_MOVIES.values()))
)
@settings(max_examples=15, deadline=None)
def test_violations_of_all_rules_are_counted_by_rule(
    ratings: list[bytes], movies: list[bytes]
) -> None:
    stats, interactions, _ = features(
        HEADER + GOOD + b"\n".join(ratings), MOVIES + b"\n".join(movies)
    )
    assert stats.files[RATINGS_CSV].quarantine == dict.fromkeys(sorted(INVALID_RATINGS), 1)
    assert stats.files[MOVIES_CSV].quarantine == dict.fromkeys(sorted(INVALID_MOVIES), 1)
    assert interactions.height == 60


@given(st.binary(max_size=400), st.binary(max_size=400))
@settings(max_examples=examples(60), deadline=None)
def test_random_bytes_raise_one_printable_error(ratings: bytes, movies: bytes) -> None:
    with pytest.raises(DatasetError) as caught:
        features(ratings, MOVIES)
    assert str(caught.value).isprintable()
    with pytest.raises(DatasetError):
        features(HEADER + GOOD, movies)


@given(st.binary(max_size=600))
@settings(max_examples=examples(60), deadline=None)
def test_random_bytes_below_a_header_reject_no_valid_row(noise: bytes) -> None:
    stats, interactions, quarantine = features(HEADER + GOOD + noise)
    counted = stats.files[RATINGS_CSV]
    assert counted.rows == stats.interactions + sum(counted.quarantine.values())
    assert quarantine.height == sum(counted.quarantine.values())
    assert interactions.filter(pl.col("userId") <= 30).height >= 60


@pytest.mark.parametrize("rule", [rule for rule in INVALID_RATINGS if rule is not Rule.DUPLICATE])
def test_a_file_of_only_invalid_rows_raises_one_error(rule: Rule) -> None:
    with pytest.raises(DatasetError, match=r"too many rows of ratings\.csv") as caught:
        features(HEADER + (INVALID_RATINGS[rule] + b"\n") * 50, settings=FeatureSettings())
    assert f"{rule} 50" in str(caught.value.found)


def test_too_many_columns_are_refused_in_bounded_memory() -> None:
    def wide() -> Iterator[bytes]:
        yield HEADER.strip()
        for _ in range(10_000):
            yield b",x" * 1000
        yield b"\n" + GOOD

    tracemalloc.start()
    with pytest.raises(DatasetError, match="line that is too long"):
        list(read_ratings(wide(), KNOWN))
    some = HEADER.strip() + b",x" * MAX_COLUMNS + b"\n" + GOOD
    with pytest.raises(DatasetError, match=r"ratings\.csv has too many columns") as caught:
        list(read_ratings([some], KNOWN))
    with pytest.raises(DatasetError, match=r"movies\.csv has too many columns"):
        read_movies([MOVIES_HEADER.strip() + b",x" * MAX_COLUMNS + b"\n"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.found == str(4 + MAX_COLUMNS)
    assert peak < 16 << 20


def test_a_line_of_a_gigabyte_is_refused_after_a_thousandth_of_it(tmp_path: Path) -> None:
    path = tmp_path / "long.zip"
    piece = b"1" * (1 << 20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(MOVIES_CSV, MOVIES)
        with archive.open(RATINGS_CSV, "w", force_zip64=True) as file:
            file.write(HEADER)
            for _ in range(1024):
                file.write(piece)
    assert path.stat().st_size < 8 << 20
    with pytest.raises(DatasetError, match="zip bomb"):
        open_dataset(path)
    tracemalloc.start()
    with (
        open_dataset(path, ArchiveLimits(max_ratio=2000)) as dataset,
        pytest.raises(DatasetError, match=r"ratings\.csv has a line that is too long"),
    ):
        make_features(dataset, "0" * 32, ALL_TOLERATED, tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24 << 20


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (b"1,1,4.0\x00,5", Rule.ENCODING),
        (b"\x00" * 40, Rule.ENCODING),
        (b"4294967297,1,4.0,5", Rule.USER_ID_RANGE),
        (b"9223372036854775808,1,4.0,5", Rule.USER_ID_RANGE),
        (b"1,18446744073709551617,4.0,5", Rule.MOVIE_ID_RANGE),
        (b"-7,1,4.0,5", Rule.USER_ID_RANGE),
        (b"7,-1,4.0,5", Rule.MOVIE_ID_RANGE),
        # The years 1 and 9999.
        (b"1,1,4.0,-62135596800", Rule.TIMESTAMP_RANGE),
        (b"1,1,4.0,253402300799", Rule.TIMESTAMP_RANGE),
        (b"1,1,4.0,1996-03-29", Rule.WRONG_TYPE),
        (b"1,1,4,0,5", Rule.FIELD_COUNT),
        (b'1,1,"4,0",5', Rule.WRONG_TYPE),
        (b"1;1;4.0;5", Rule.FIELD_COUNT),
        (b"1\t1\t4.0\t5", Rule.FIELD_COUNT),
        ("1,1,4.0,5é".encode("latin-1"), Rule.ENCODING),
        (b'1,1,4.0,"5', Rule.FIELD_COUNT),
        (b"\xef\xbb\xbf1,1,4.0,5", Rule.WRONG_TYPE),
        (HEADER.strip(), Rule.WRONG_TYPE),
    ],
)
def test_a_malformed_row_goes_to_quarantine_under_its_rule(row: bytes, rule: Rule) -> None:
    assert rules_of(row + b"\n") == {rule: 1}


@pytest.mark.parametrize(
    "ratings",
    [
        b"\xef\xbb\xbf" + HEADER + GOOD,
        (HEADER + GOOD).replace(b"\n", b"\r\n"),
        HEADER + GOOD.rstrip(),
        HEADER.replace(b"userId", b'"userId"') + GOOD.replace(b"4.0", b'"4.0"'),
        HEADER + GOOD.replace(b"\n", b"\n\n"),
    ],
    ids=["byte order mark", "CRLF", "no last line break", "quoted", "blank lines"],
)
def test_harmless_variants_of_csv_give_the_same_features(ratings: bytes) -> None:
    plain, odd = features(HEADER + GOOD), features(ratings)
    assert odd[0].sha256 == plain[0].sha256
    assert odd[0].files[RATINGS_CSV].quarantine == {}


@pytest.mark.parametrize(
    "header",
    [
        b"userId,userId,movieId,rating,timestamp\n",
        b"userId,movieId,rating,rating,timestamp\n",
        b"person,movie,rating,timestamp\n",
        b"user,uid,rating,timestamp\n",
        b"userId movieId rating timestamp\n",
        b"userId::movieId::rating::timestamp\n",
        b"\x00" * 64 + b"\n",
        b"",
    ],
)
def test_a_header_with_other_columns_raises_one_error(header: bytes) -> None:
    with pytest.raises(DatasetError, match="columns of a MovieLens dataset") as caught:
        features(header + GOOD)
    assert caught.value.expected == "userId,movieId,rating,timestamp"


def test_movies_in_latin_1_are_rejected_for_their_encoding() -> None:
    movies = MOVIES_HEADER + b"".join(b"%d,Caf\xe9 (1995),Drama\n" % i for i in range(1, 9))
    with pytest.raises(DatasetError, match=r"too many rows of movies\.csv") as caught:
        features(HEADER + GOOD, movies, FeatureSettings())
    assert "encoding 8" in str(caught.value.found)


def test_a_user_with_too_many_rows_for_memory_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interactions, "MAX_USER_ROWS", 100)
    with pytest.raises(PermanentError, match="one user has too many rows") as caught:
        features(HEADER + GOOD + b"77,1,4.0,5\n" * 101)
    assert caught.value.found == "101"
