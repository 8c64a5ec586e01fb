"""Invalid and repeated rows of a dataset: each is counted, and too many of them are an error."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from recsys import contract
from recsys.contract import FeatureSettings, RuleShares
from recsys.dataset import MOVIES_CSV, RATINGS_CSV
from recsys.errors import DatasetError
from recsys.features import Rule, generate_data_frames
from recsys.object_store import ObjectStore
from tests.stored_datasets import ALL_TOLERATED, HEADER, MOVIES, OVERALL, ROWS, TOLERANT, put, table


def test_invalid_rows_go_to_quarantine_and_every_row_is_counted(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    broken = [
        (Rule.RATING_RANGE, b"1,1,0.0,5"),
        (Rule.RATING_RANGE, b"1,1,7,5"),
        (Rule.UNKNOWN_MOVIE, b"1,3,4.0,5"),
        (Rule.WRONG_TYPE, b"one,1,4.0,5"),
        (Rule.ENCODING, b"1,1,4.0,\xff"),
        (Rule.ENCODING, b"1,\x001,4.0,5"),
        (Rule.FIELD_COUNT, b"1,1,4.0"),
        (Rule.MOVIE_ID_RANGE, b"1,4294967297,4.0,5"),
        (Rule.USER_ID_RANGE, b"4294967297,1,4.0,5"),
        (Rule.TIMESTAMP_RANGE, b"1,1,4.0,-5"),
    ]
    ratings = HEADER + b"\n".join(line for _, line in broken) + b"\n" + ROWS
    duplicates = b"50,2,1.0,9999\n50,1,2.5,0\n50,1,2.5,0\n"
    movies = MOVIES + b"x,Broken (1995),Drama\n"
    md5 = put(object_store, ratings + duplicates, movies)
    stats = generate_data_frames(md5, object_store, TOLERANT, tmp_path)
    quarantine = table(object_store, md5, contract.QUARANTINE_FILE)
    assert quarantine.columns == ["rule", "file", "line", "text"]
    rows = quarantine.filter(pl.col("file") == RATINGS_CSV).rows()
    assert [(rule, line) for rule, _, line, _ in rows] == [
        *((rule.value, line) for line, (rule, _) in enumerate(broken, 2)),
        # The last two rows of ROWS are lines 110 and 111: (50, 1, 51 s) and (50, 2, 52 s).
        *(("duplicate", line) for line in (111, 113, 114)),
    ]
    assert rows[0][3] == "1,1,0.0,5"
    assert rows[-3][3] == "50,2,4.0,52"
    interactions = table(object_store, md5, contract.INTERACTIONS_FILE)
    assert interactions.filter(pl.col("userId") == 50).select("movieId", "rating").rows() == [
        (1, 4.0),
        (2, 1.0),
    ]
    for file, valid in ((RATINGS_CSV, stats.interactions), (MOVIES_CSV, stats.movies)):
        counted = stats.files[file]
        assert counted.rows == valid + sum(counted.quarantine.values())
    assert stats.files[RATINGS_CSV].quarantine[Rule.DUPLICATE] == 3
    assert stats.files[RATINGS_CSV].invalid == len(broken)
    assert stats.files[MOVIES_CSV].quarantine == {Rule.WRONG_TYPE: 1}


def test_too_many_invalid_rows_fail_with_the_rules_and_the_first_rows(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    md5 = put(object_store, HEADER + b"1,1,9,5\n" * 4 + b"1,x,4.0,5\n" * 2 + ROWS)
    with pytest.raises(DatasetError, match="too many rows") as caught:
        generate_data_frames(md5, object_store, FeatureSettings(), tmp_path)
    assert "6 of 106" in str(caught.value.found)
    assert "rating_range 4, wrong_type 2" in str(caught.value.found)
    assert "line 2 '1,1,9,5' (rating_range)" in caught.value.hint
    assert object_store.keys("features/") == []


def test_a_file_of_invalid_rows_fails_before_its_end(
    object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recsys.features.csv_blocks.BLOCK_BYTES", 1 << 16)
    rows = 4 * (1 << 20) // 8
    md5 = put(object_store, HEADER + b"1,1,9,5\n" * rows)
    with pytest.raises(DatasetError, match="too many rows") as caught:
        generate_data_frames(md5, object_store, FeatureSettings(), tmp_path)
    match = re.search(r"of (\d+) rows read", str(caught.value.found))
    assert match is not None
    assert int(match[1]) < rows


def test_a_share_of_invalid_rows_at_the_limit_is_tolerated(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    md5 = put(object_store, HEADER + b"1,1,9,5\n" * 5 + ROWS[: ROWS.rfind(b"46,1,4.0")])
    with pytest.raises(DatasetError):
        generate_data_frames(md5, object_store, OVERALL, tmp_path)
    md5 = put(object_store, HEADER + b"1,1,9,5\n" * 5 + ROWS)
    assert generate_data_frames(md5, object_store, OVERALL, tmp_path).interactions == 100


def test_each_rule_has_its_own_limit(object_store: ObjectStore, tmp_path: Path) -> None:
    md5 = put(object_store, HEADER + b"1,1,9,5\n" * 3 + b"1,x,4.0,5\n" + ROWS)
    with pytest.raises(DatasetError, match="too many rows") as caught:
        generate_data_frames(md5, object_store, FeatureSettings(), tmp_path)
    assert caught.value.expected == "at most 5.0%; at most 2.0% for rating_range"
    lenient = FeatureSettings(max_rule_shares=RuleShares(rating_range=0.03))
    stats = generate_data_frames(md5, object_store, lenient, tmp_path)
    assert stats.files[RATINGS_CSV].shares[Rule.RATING_RANGE] == pytest.approx(3 / 104)


def test_too_many_duplicates_are_their_own_error(object_store: ObjectStore, tmp_path: Path) -> None:
    md5 = put(object_store, HEADER + ROWS + ROWS)
    with pytest.raises(DatasetError, match=r"too many rows of ratings\.csv rate a movie again"):
        generate_data_frames(md5, object_store, FeatureSettings(), tmp_path)


def test_duplicates_are_resolved_and_not_counted_as_invalid(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    md5 = put(object_store, HEADER + ROWS + ROWS)
    many = FeatureSettings(max_rule_shares=RuleShares(duplicate=0.5))
    stats = generate_data_frames(md5, object_store, many, tmp_path)
    assert stats.interactions == 100
    assert stats.files[RATINGS_CSV].quarantine == {Rule.DUPLICATE: 100}


def test_no_valid_row_is_an_error_even_if_all_invalid_rows_are_tolerated(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    md5 = put(object_store, HEADER + b"1,1,9,5\n")
    all_tolerated = FeatureSettings(max_quarantine_share=1, max_rule_shares=ALL_TOLERATED)
    with pytest.raises(DatasetError, match="no valid row") as caught:
        generate_data_frames(md5, object_store, all_tolerated, tmp_path)
    assert caught.value.found == "only invalid rows: rating_range 1"
