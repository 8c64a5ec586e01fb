from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys import contract
from recsys.contract import FeatureSettings, RuleShares
from recsys.dataset import MOVIES_CSV, RATINGS_CSV, fetch_dataset, read_source_md5, write_sample
from recsys.errors import ArtifactError, DatasetError, DiskFullError
from recsys.features import FileStats, Stats, find_features, generate_data_frames, read_stats
from recsys.object_store import ObjectStore
from recsys.scratch import scratch_folder
from recsys.vectors import MovieVectors, put_movie_vectors, stored_movie_vectors
from tests.stored_datasets import HEADER, MOVIES, ROWS, TOLERANT, prefix, put, table


def test_the_real_dataset_has_no_invalid_row(
    ml_latest_small: Path, object_store: ObjectStore, tmp_path: Path
) -> None:
    md5 = read_source_md5(str(ml_latest_small))
    fetch_dataset(str(ml_latest_small), md5, object_store)
    seen: list[tuple[int, int | None]] = []
    stats = generate_data_frames(
        md5, object_store, FeatureSettings(), tmp_path, lambda done, of: seen.append((done, of))
    )
    assert (stats.interactions, stats.users, stats.rated_movies) == (100_836, 610, 9724)
    assert (stats.movies, stats.train, stats.holdout, stats.later) == (9742, 86_932, 9790, 4114)
    assert stats.moment == 1_519_171_200, "2018-02-21, with 4,838 ratings from then on"
    assert stats.files == {
        RATINGS_CSV: FileStats(rows=100_836, quarantine={}),
        MOVIES_CSV: FileStats(rows=9742, quarantine={}),
    }
    assert stats.profile.ratings["4.0"] == 26_818
    assert sum(stats.profile.ratings.values()) == 100_836
    assert (stats.first_timestamp, stats.last_timestamp) == (828_124_615, 1_537_799_250)
    assert seen[-1] == (2_483_723, 2_483_723)

    interactions = table(object_store, md5, contract.INTERACTIONS_FILE)
    assert interactions.schema == {
        "userId": pl.Int32,
        "movieId": pl.Int32,
        "rating": pl.Float32,
        "timestamp": pl.Int64,
        "split": pl.Enum(["train", "holdout", "later"]),
    }
    assert interactions.height == 100_836
    assert interactions.equals(interactions.sort("userId", "timestamp", "movieId"))
    movies = table(object_store, md5, contract.MOVIES_FILE)
    assert movies.schema == {
        "movieId": pl.Int32,
        "title": pl.String,
        "year": pl.Int16,
        "genres": pl.List(pl.String),
    }
    assert movies.row(0) == (
        *(1, "Toy Story (1995)", 1995),
        ["Adventure", "Animation", "Children", "Comedy", "Fantasy"],
    )
    assert table(object_store, md5, contract.QUARANTINE_FILE).is_empty()
    assert list(tmp_path.iterdir()) == []


def test_each_parquet_file_matches_the_statistics(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    md5 = put(object_store, HEADER + ROWS)
    stats = generate_data_frames(md5, object_store, FeatureSettings(), tmp_path)
    assert stats == read_stats(prefix(md5), object_store) == Stats.from_json(stats.to_json())
    for name, sha256 in stats.sha256.items():
        assert object_store.sha256(contract.features_key(prefix(md5), name)) == sha256


def test_the_same_dataset_gives_the_same_bytes(object_store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "sample.zip"
    md5 = write_sample(path, ratings=20_000).md5
    fetch_dataset(str(path), md5, object_store)
    first = generate_data_frames(md5, object_store, FeatureSettings(), tmp_path)
    object_store.delete([contract.features_key(prefix(md5), contract.STATS_FILE)])
    assert generate_data_frames(md5, object_store, FeatureSettings(), tmp_path) == first


def stored(store: ObjectStore, where: str) -> dict[str, tuple[bytes, object]]:
    """Every object below a prefix: its bytes and its properties."""
    return {key: (store.get_bytes(key), store.head(key)) for key in store.keys(where)}


def vectors_of_movie(movie: int) -> MovieVectors:
    one = np.zeros((1, contract.MOVIE_VECTOR_DIM), np.float32)
    one[0, movie] = 1
    return MovieVectors(np.array([movie], np.int32), one)


def test_features_are_made_once(object_store: ObjectStore, tmp_path: Path) -> None:
    md5 = put(object_store, HEADER + ROWS)
    first = generate_data_frames(md5, object_store, FeatureSettings(), tmp_path)
    object_store.delete([contract.dataset_key(md5, contract.DATASET_FILE)])
    assert generate_data_frames(md5, object_store, FeatureSettings(), tmp_path) == first


def test_features_of_other_settings_are_next_to_the_first_and_change_no_byte_of_them(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    md5 = put(object_store, HEADER + ROWS)
    settings = [FeatureSettings(holdout_share=share) for share in (0.1, 0.4)]
    first = generate_data_frames(md5, object_store, settings[0], tmp_path)
    put_movie_vectors(object_store, first, vectors_of_movie(1), tmp_path)
    before = stored(object_store, settings[0].prefix(md5))
    assert len(before) == 5
    other = generate_data_frames(md5, object_store, settings[1], tmp_path)
    put_movie_vectors(object_store, other, vectors_of_movie(2), tmp_path)
    assert other.holdout > first.holdout
    assert stored(object_store, settings[0].prefix(md5)) == before
    for made, chosen in ((first, settings[0]), (other, settings[1])):
        assert read_stats(chosen.prefix(md5), object_store) == made
        assert generate_data_frames(md5, object_store, chosen, tmp_path) == made
        vectors = stored_movie_vectors(object_store, made, tmp_path)
        assert vectors is not None
        assert vectors.ids.tolist() == [1 if made is first else 2]


def test_builds_with_other_tolerances_share_features_and_each_is_checked(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    md5 = put(object_store, HEADER + b"1,1,9,5\n" * 3 + b"1,x,4.0,5\n" + ROWS)
    lenient = FeatureSettings(max_rule_shares=RuleShares(rating_range=0.03))
    made = generate_data_frames(md5, object_store, lenient, tmp_path)
    before = stored(object_store, lenient.prefix(md5))
    with pytest.raises(DatasetError, match="too many rows"):
        generate_data_frames(md5, object_store, FeatureSettings(), tmp_path)
    more = FeatureSettings(max_rule_shares=RuleShares(rating_range=0.5))
    assert generate_data_frames(md5, object_store, more, tmp_path) == made
    assert stored(object_store, lenient.prefix(md5)) == before


def move_to_the_place_of_earlier_code(store: ObjectStore, stats: Stats) -> str:
    earlier = contract.dataset_features_prefix(stats.md5)
    for key in store.keys(stats.prefix):
        head = store.head(key)
        assert head is not None
        store.copy(key, earlier + key.removeprefix(stats.prefix), head.metadata)
        store.delete([key])
    return earlier


def test_features_of_earlier_code_are_taken_over_if_they_are_of_the_same_settings(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    md5 = put(object_store, HEADER + ROWS)
    first = generate_data_frames(md5, object_store, FeatureSettings(), tmp_path)
    put_movie_vectors(object_store, first, vectors_of_movie(1), tmp_path)
    earlier = move_to_the_place_of_earlier_code(object_store, first)
    before = stored(object_store, earlier)
    other = FeatureSettings(holdout_share=0.4)
    assert find_features(md5, object_store, other) is None
    assert generate_data_frames(md5, object_store, other, tmp_path).holdout > first.holdout
    object_store.delete([contract.dataset_key(md5, contract.DATASET_FILE)])
    assert generate_data_frames(md5, object_store, FeatureSettings(), tmp_path) == first
    assert stored_movie_vectors(object_store, first, tmp_path) is not None
    after = stored(object_store, earlier)
    assert {key: after[key] for key in before} == before, "releases of earlier code read them"
    damaged = contract.features_key(first.prefix, contract.STATS_FILE)
    object_store.delete([damaged, contract.features_key(earlier, contract.INTERACTIONS_FILE)])
    assert find_features(md5, object_store, FeatureSettings()) is None


def test_sites_find_the_titles_of_a_dataset_under_one_key(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    md5 = put(object_store, HEADER + ROWS)
    titles = contract.titles_key(md5)
    assert titles == f"features/{md5}/movies.parquet"
    made = generate_data_frames(md5, object_store, FeatureSettings(), tmp_path)
    expected = object_store.get_bytes(contract.features_key(made.prefix, contract.MOVIES_FILE))
    assert object_store.get_bytes(titles) == expected
    object_store.delete([titles])
    generate_data_frames(md5, object_store, FeatureSettings(), tmp_path)
    assert object_store.get_bytes(titles) == expected


def test_features_without_statistics_are_made_again(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    md5 = put(object_store, HEADER + ROWS)
    assert read_stats(prefix(md5), object_store) is None
    stats = generate_data_frames(md5, object_store, FeatureSettings(), tmp_path)
    for damage in (b"", b"{}", b'{"md5": "'):
        object_store.put_bytes(contract.features_key(prefix(md5), contract.STATS_FILE), damage)
        assert read_stats(prefix(md5), object_store) is None
        assert generate_data_frames(md5, object_store, FeatureSettings(), tmp_path) == stats


@pytest.mark.parametrize("damage", ["cut", "deleted"])
def test_damaged_features_heal(object_store: ObjectStore, tmp_path: Path, damage: str) -> None:
    md5 = put(object_store, HEADER + ROWS)
    generate_data_frames(md5, object_store, TOLERANT, tmp_path)
    key = contract.features_key(prefix(md5), contract.INTERACTIONS_FILE)
    whole = object_store.get_bytes(key)
    if damage == "cut":
        object_store.put_bytes(key, whole[:-1])
    else:
        object_store.delete([key])
    generate_data_frames(md5, object_store, TOLERANT, tmp_path)
    assert object_store.get_bytes(key) == whole


@pytest.mark.parametrize(
    ("ratings", "movies", "message"),
    [
        (b"", MOVIES, "columns"),
        (HEADER, MOVIES, r"ratings\.csv has no valid row"),
        (HEADER + ROWS, b"", "columns"),
        (HEADER + ROWS, b"movieId,title,genres\n", r"movies\.csv has no valid row"),
        (b"userId,movieId,rating\n1,1,4.0\n", MOVIES, "columns"),
        (HEADER + ROWS, b"movieId,genres\n1,Comedy\n", "columns"),
        (HEADER + b"1,1,9,5\n", MOVIES, "too many rows"),
        (HEADER + ROWS, b"movieId,title,genres\n9,Heat (1995),Crime\n", "too many rows"),
    ],
)
def test_an_unusable_dataset_fails_permanently(
    object_store: ObjectStore, tmp_path: Path, ratings: bytes, movies: bytes, message: str
) -> None:
    md5 = put(object_store, ratings, movies)
    with pytest.raises(DatasetError, match=message):
        generate_data_frames(md5, object_store, FeatureSettings(), tmp_path)
    assert object_store.keys("features/") == []
    assert list(tmp_path.iterdir()) == []


def test_line_breaks_byte_order_marks_and_the_order_of_rows_change_nothing_but_the_hash(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    plain = generate_data_frames(
        put(object_store, HEADER + ROWS), object_store, FeatureSettings(), tmp_path
    )
    reversed_rows = b"\r\n".join(ROWS.splitlines()[::-1])
    odd = generate_data_frames(
        put(
            object_store,
            b"\xef\xbb\xbf" + HEADER.strip() + b"\r\n" + reversed_rows,
            b"\xef\xbb\xbf" + MOVIES.replace(b"\n", b"\r\n"),
        ),
        object_store,
        FeatureSettings(),
        tmp_path,
    )
    assert odd.md5 != plain.md5
    assert odd.model_copy(update={"md5": plain.md5}) == plain


def test_a_dataset_that_is_not_in_the_store_or_was_changed_there_is_an_error(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match="not in the store"):
        generate_data_frames("0" * 32, object_store, FeatureSettings(), tmp_path)
    md5 = put(object_store, HEADER + ROWS)
    key = contract.dataset_key(md5, contract.DATASET_FILE)
    stored = object_store.head(key)
    assert stored is not None
    object_store.put_bytes(key, b"changed", stored.metadata)
    with pytest.raises(ArtifactError, match="has changed since it was stored"):
        generate_data_frames(md5, object_store, FeatureSettings(), tmp_path)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A separate file system for temporary files; `resize` sets its size."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk of its own can be mounted: it takes root")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def resize(disk: Path, kilobytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(disk)], check=True)


@pytest.mark.parametrize(
    "kilobytes",
    [400, 1000, 1600, 2400],
    ids=["by the zip", "by the movies", "by rows that wait", "by the table"],
)
def test_a_full_disk_raises_its_own_error_and_leaves_no_file(
    object_store: ObjectStore, tmp_path: Path, disk: Path, kilobytes: int
) -> None:
    sample = write_sample(tmp_path / "ml.zip", ratings=100_000)
    fetch_dataset(str(sample.path), sample.md5, object_store)
    resize(disk, kilobytes)
    with (
        pytest.raises(DiskFullError, match=r"is full.*TMPDIR"),
        scratch_folder("features") as folder,
    ):
        generate_data_frames(sample.md5, object_store, FeatureSettings(), folder)
    assert list(disk.iterdir()) == []
    assert object_store.keys("features/") == []
    resize(disk, 64 << 10)
    with scratch_folder("features") as folder:
        generate_data_frames(sample.md5, object_store, FeatureSettings(), folder)
    assert read_stats(prefix(sample.md5), object_store) is not None
