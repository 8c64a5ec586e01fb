"""Rows of erased users are counted and never stored, whatever is wrong with them."""

from __future__ import annotations

import polars as pl
import pytest

from recsys.contract import Build, BuildSettings, FeatureSettings
from recsys.features import ErasedUsers, Rule, read_ratings
from recsys.features.csv_reader import Batch

KEY = b"k" * 32
KNOWN = pl.Series([1, 2, 3], dtype=pl.Int32)
HEADER = b"userId,movieId,rating,timestamp\n"


def erased(*ids: int) -> ErasedUsers:
    hashes = [ErasedUsers(KEY).hash_of(user) for user in ids]
    return ErasedUsers(KEY, hashes, "e" * 64)


def read(lines: str, gone: ErasedUsers, header: bytes = HEADER) -> Batch:
    [batch] = read_ratings([header + lines.encode()], KNOWN, gone)
    return batch


def test_valid_rows_of_an_erased_user_are_only_counted() -> None:
    batch = read("5,1,4.0,10\n6,1,4.0,10\n5,2,3.0,11\n", erased(5))
    assert batch.rows["userId"].to_list() == [6]
    assert dict(batch.rejected.counts) == {Rule.ERASED: 2}
    assert (batch.rejected.rows, batch.read) == ([], 3)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("5,1,9.5,10", Rule.ERASED),
        ("005,1,x,10", Rule.ERASED),
        ('"5",1,9.5,10', Rule.ERASED),
        ("5,77,4.0,10", Rule.ERASED),
        ("5,1,4.0", Rule.FIELD_COUNT),
        ("5.0,1,4.0,10", Rule.WRONG_TYPE),
        ('"5,1,4.0,10', Rule.FIELD_COUNT),
        ("5;1;4.0;10", Rule.FIELD_COUNT),
        ("5\x00,1,4.0,10", Rule.ENCODING),
    ],
)
def test_no_invalid_row_that_may_be_of_an_erased_user_is_stored(line: str, rule: Rule) -> None:
    batch = read(line + "\n", erased(5))
    assert dict(batch.rejected.counts) == {rule: 1}
    assert batch.rejected.rows == []


def test_invalid_rows_of_others_are_stored() -> None:
    batch = read("6,1,9.5,10\n55,1,x,10\n", erased(5))
    assert [row[3] for row in batch.rejected.rows] == [b"6,1,9.5,10", b"55,1,x,10"]


def test_a_movie_with_the_number_of_an_erased_user_stays() -> None:
    batch = read("6,2,4.0,2\n", erased(2))
    assert batch.rows["movieId"].to_list() == [2]


def test_the_column_of_the_user_may_be_anywhere() -> None:
    header = b"rating,timestamp,movieId,userId\n"
    batch = read("4.0,10,1,5\n9.5,10,1,5\n4.0,5,1,6\n", erased(5), header)
    assert dict(batch.rejected.counts) == {Rule.ERASED: 2}
    assert batch.rows["userId"].to_list() == [6]


def test_a_hash_needs_the_key() -> None:
    made = erased(5)
    assert made.find([4, 5, 6]) == {5}
    assert ErasedUsers(b"x" * 32, made.hashes).find([4, 5, 6]) == set()


def test_without_erased_users_settings_and_ids_are_those_of_before() -> None:
    settings = BuildSettings()
    assert "erased" not in settings.model_dump(mode="json")["features"]
    assert "erased" not in settings.model_dump_json()
    old = Build(
        dataset_md5="1" * 32, trainer_digest=f"sha256:{'a' * 64}", settings={"features": {}}
    )
    assert old.features_prefix == FeatureSettings().prefix("1" * 32)
    gone = FeatureSettings(erased="e" * 64)
    assert FeatureSettings.model_validate_json(gone.model_dump_json()) == gone
    assert gone.fingerprint != FeatureSettings().fingerprint
