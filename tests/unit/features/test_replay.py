from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import polars as pl
import pytest

from recsys.contract import FeatureSettings, RuleShares
from recsys.dataset import MOVIES_CSV, RATINGS_CSV, open_dataset
from recsys.errors import DatasetError
from recsys.features import Replay, Rule, Stats, make_features, replay_quarantine

ALL_TOLERATED = FeatureSettings(
    max_quarantine_share=1.0,
    max_rule_shares=RuleShares(**dict.fromkeys(RuleShares.model_fields, 1.0)),
)
RATINGS = (
    "userId,movieId,rating,timestamp\n"
    "1,1,4.0,10\n"
    "1,2,77,11\n"
    "2,9,3.5,12\n"
    "2,1,2.5,13\n"
    "2,1,3.0,14\n"
    "3,x,3.0,15\n"
)
MOVIES = (
    'movieId,title,genres\n1,"Matrix, The (1999)",Action|Sci-Fi\n2,Heat (1995),\nz,Lost,Drama\n'
)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "old.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ml/" + RATINGS_CSV, RATINGS)
        archive.writestr("ml/" + MOVIES_CSV, MOVIES)
    return path


def features(path: Path, folder: Path, settings: FeatureSettings = ALL_TOLERATED) -> Stats:
    folder.mkdir(exist_ok=True)
    with open_dataset(path) as archive:
        return make_features(archive, "0" * 32, settings, folder)


def again(path: Path, stats: Stats, **repaired: Path) -> Replay:
    with open_dataset(path) as archive:
        return replay_quarantine(archive, stats.files, **repaired)


def test_without_a_repair_no_row_becomes_valid(dataset: Path, tmp_path: Path) -> None:
    found = again(dataset, features(dataset, tmp_path / "f"))
    assert found.before[RATINGS_CSV] == {
        Rule.DUPLICATE: 1,
        Rule.RATING_RANGE: 1,
        Rule.UNKNOWN_MOVIE: 1,
        Rule.WRONG_TYPE: 1,
    }
    assert found.now_valid(RATINGS_CSV) == found.now_valid(MOVIES_CSV) == {}
    assert found.md5 is None


def test_repaired_rows_and_rows_valid_through_them_make_a_new_dataset(
    dataset: Path, tmp_path: Path
) -> None:
    before = features(dataset, tmp_path / "before")
    ratings, movies = tmp_path / "ratings-repaired.csv", tmp_path / "movies-repaired.csv"
    ratings.write_text("userId,movieId,rating,timestamp\n1,2,4.5,11\n3,1,3.0,15\n")
    movies.write_text("movieId,title,genres\n9,Lost (1950),Drama\n2,Heat (1995),Crime\n")
    out = tmp_path / "new.zip"
    found = again(dataset, before, repaired_ratings=ratings, repaired_movies=movies, out=out)
    assert found.now_valid(RATINGS_CSV) == {Rule.UNKNOWN_MOVIE: 1}
    assert found.repaired == {RATINGS_CSV: 2, MOVIES_CSV: 2}
    assert found.rows == {RATINGS_CSV: 6, MOVIES_CSV: 3}
    assert found.md5 == hashlib.md5(out.read_bytes(), usedforsecurity=False).hexdigest()
    assert out.with_name("new.zip.md5").read_text() == f"MD5 (new.zip) = {found.md5}\n"

    # One duplicate of six rows is within the default limits; nothing else is left in quarantine.
    stats = features(out, tmp_path / "after", FeatureSettings())
    assert stats.files[RATINGS_CSV].quarantine == {Rule.DUPLICATE: 1}
    table = pl.read_parquet(tmp_path / "after" / "interactions.parquet")
    assert table.select("userId", "movieId", "rating").rows() == [
        *((1, 1, 4.0), (1, 2, 4.5)),
        *((2, 9, 3.5), (2, 1, 3.0)),
        (3, 1, 3.0),
    ]
    assert pl.read_parquet(tmp_path / "after" / "movies.parquet").rows() == [
        (1, "Matrix, The (1999)", 1999, ["Action", "Sci-Fi"]),
        (2, "Heat (1995)", 1995, ["Crime"]),
        (9, "Lost (1950)", 1950, ["Drama"]),
    ]


def test_the_same_replay_gives_the_same_dataset(dataset: Path, tmp_path: Path) -> None:
    stats = features(dataset, tmp_path / "f")
    first, second = tmp_path / "1.zip", tmp_path / "2.zip"
    assert again(dataset, stats, out=first).md5 == again(dataset, stats, out=second).md5
    assert first.read_bytes() == second.read_bytes()


def test_replaying_a_whole_dataset_changes_no_interaction(
    ml_latest_small: Path, tmp_path: Path
) -> None:
    before = features(ml_latest_small, tmp_path / "before", FeatureSettings())
    again(ml_latest_small, before, out=tmp_path / "new.zip")
    after = features(tmp_path / "new.zip", tmp_path / "after", FeatureSettings())
    assert after.sha256 == before.sha256


def test_an_invalid_repaired_row_is_shown_and_nothing_is_written(
    dataset: Path, tmp_path: Path
) -> None:
    stats = features(dataset, tmp_path / "f")
    repaired = tmp_path / "repaired.csv"
    repaired.write_text("userId,movieId,rating,timestamp\n1,2,4.5,11\n3,8,3.0,15\n")
    out = tmp_path / "new.zip"
    with pytest.raises(
        DatasetError, match=r"1 repaired rows of repaired\.csv are invalid"
    ) as caught:
        again(dataset, stats, repaired_ratings=repaired, out=out)
    assert caught.value.found == "line 3 '3,8,3.0,15' (unknown_movie)"
    assert {p.name for p in tmp_path.iterdir()} == {"old.zip", "f", "repaired.csv"}
