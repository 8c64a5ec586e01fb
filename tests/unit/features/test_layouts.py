"""A dataset has the same features in each layout in which it is published."""

import zipfile
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from recsys.contract import (
    DETECTED_COLUMNS,
    INTERACTIONS_FILE,
    MOVIES_FILE,
    QUARANTINE_FILE,
    DatasetColumns,
    FeatureSettings,
)
from recsys.dataset import RATINGS_CSV, open_dataset, write_sample
from recsys.dataset.layouts import LAYOUTS, Layout
from recsys.errors import DatasetError
from recsys.features import Stats, make_features
from tests.dataset_layouts import GIVEN, write_in_layout
from tests.dataset_layouts import LAYOUTS as WRITTEN

BY_NAME = {layout.name: layout for layout in LAYOUTS}
MD5 = "0" * 32


def features(path: Path, folder: Path, columns: DatasetColumns = DETECTED_COLUMNS) -> Stats:
    folder.mkdir()
    with open_dataset(path, columns=columns) as archive:
        return make_features(archive, MD5, FeatureSettings(columns=columns), folder)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("layouts") / "sample.zip"
    write_sample(path, ratings=3000, seed=2)
    return path


@pytest.mark.parametrize("layout", WRITTEN)
def test_its_rows_are_those_of_the_csv(sample: Path, tmp_path: Path, layout: str) -> None:
    expected = features(sample, tmp_path / "csv")
    path = tmp_path / "other.zip"
    write_in_layout(sample, path, layout)
    found = features(
        path, tmp_path / "other", GIVEN if layout == "given names" else DETECTED_COLUMNS
    )

    assert (found.interactions, found.movies) == (expected.interactions, expected.movies)
    assert not any(file.quarantine for file in found.files.values())
    rows, other = (pl.read_parquet(tmp_path / f / INTERACTIONS_FILE) for f in ("csv", "other"))
    if layout in ("100K", "1M"):
        rows = rows.with_columns(pl.col("rating").ceil())
    assert other.equals(rows)
    movies, other = (pl.read_parquet(tmp_path / f / MOVIES_FILE) for f in ("csv", "other"))
    if layout == "no genres":
        movies = movies.with_columns(genres=pl.lit([], pl.List(pl.String)))
    elif layout == "100K":
        # Flags have an order of their own.
        movies, other = (m.with_columns(pl.col("genres").list.sort()) for m in (movies, other))
    assert other.equals(movies)


def read(
    layout: Layout, csv_name: str, content: bytes, size: int = 1 << 20, **others: bytes
) -> bytes:
    chunks = [content[at : at + size] for at in range(0, len(content), size)]
    return b"".join(
        layout.read(csv_name, chunks, lambda name: [others[name]] if name in others else [])
    )


@pytest.mark.parametrize("size", range(1, 9))
def test_colons_are_found_across_chunks(size: int) -> None:
    content = b"1::1193::5::978300760\n2::661:3::4.5::978302109\n3:::1::1::1\n4::::1\n5:"
    colons = BY_NAME["MovieLens 1M and 10M"]
    translated = content.replace(b"::", b",")

    assert read(colons, "ratings.csv", content, size).partition(b"\n")[2] == translated


def test_titles_keep_their_colons_commas_quotes_and_letters() -> None:
    colons = BY_NAME["MovieLens 1M and 10M"]
    lines = ['1::Ghost::Shell, "The" (1995)::Sci-Fi|Drama', "2::Misérables, Les (1995)::Drama"]

    for encoding in ("utf-8", "latin-1"):
        content = read(colons, "movies.csv", "\r\n".join(lines).encode(encoding)).decode()
        assert content.splitlines()[1:] == [
            '1,"Ghost::Shell, ""The"" (1995)",Sci-Fi|Drama',
            '2,"Misérables, Les (1995)",Drama',
        ]


def test_flags_are_genres_by_the_archives_names_or_else_by_movielens() -> None:
    flags = BY_NAME["MovieLens 100K"]
    line = b"7|Twelve Monkeys (1995)|01-Jan-1995||http://x/|" + b"|".join(
        b"1" if number in (0, 8, 15) else b"0" for number in range(19)
    )

    assert (
        read(flags, "movies.csv", line).splitlines()[1] == b"7,Twelve Monkeys (1995),Drama|Sci-Fi"
    )
    named = read(flags, "movies.csv", b"7|A||||0|1", **{"u.genre": b"B|1\nA|0\n\nbad\n"})
    assert named.splitlines()[1] == b"7,A,B"
    assert read(flags, "movies.csv", b"7|A||||0|0", **{"u.genre": b"B|1\nA|0\n"}).endswith(
        b"7,A,(no genres listed)\n"
    )


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("MovieLens 1M and 10M", b"1, Toy Story, Animation"),
        ("MovieLens 100K", b"1|Toy Story|||x|0|1"),
        ("MovieLens 100K", b"1|Toy Story|||x" + b"|2" * 19),
    ],
)
def test_a_row_that_is_not_of_its_layout_is_one_field(name: str, line: bytes) -> None:
    """Also if it has as many commas as a CSV row: validation then counts its fields."""
    row = read(BY_NAME[name], "movies.csv", line + b"\n").splitlines()[1]

    assert row in (line, b'"' + line + b'"')
    assert b"," not in row.strip(b'"') or row.startswith(b'"')


@pytest.mark.parametrize(
    ("layout", "separator", "file"), [("1M", "::", "ratings.dat"), ("100K", "\t", "u.data")]
)
def test_a_comma_separates_no_fields_of_an_older_layout(
    sample: Path, tmp_path: Path, layout: str, separator: str, file: str
) -> None:
    """Three fields must not become four: these rows would be ratings that nobody gave."""
    rows = ("901 1 4,5", "902,1 5 1000000000", "903,1,5,1000000000", "904 1, 5 1000000000")
    bad = "".join(row.replace(" ", separator) + "\n" for row in rows)
    write_in_layout(sample, tmp_path / "good.zip", layout)
    with (
        zipfile.ZipFile(tmp_path / "good.zip") as good,
        zipfile.ZipFile(tmp_path / "bad.zip", "w") as written,
    ):
        for name in good.namelist():
            before = bad.encode() if name.endswith(file) else b""
            written.writestr(name, before + good.read(name))

    features(tmp_path / "bad.zip", tmp_path / "features")

    quarantine = pl.read_parquet(tmp_path / "features" / QUARANTINE_FILE)
    assert quarantine.select("rule", "line").rows() == [
        ("field_count", 2),
        ("field_count", 3),
        ("field_count", 4),
        ("wrong_type", 5),
    ]


def test_bad_rows_of_an_older_layout_are_quarantined_by_their_rules(
    sample: Path, tmp_path: Path
) -> None:
    write_in_layout(sample, tmp_path / "good.zip", "1M")
    with (
        zipfile.ZipFile(tmp_path / "good.zip") as good,
        zipfile.ZipFile(tmp_path / "bad.zip", "w") as bad,
    ):
        rows = good.read("ml/ratings.dat")
        bad.writestr("ratings.dat", b"1::1::9::1\nx::1::5::1\n1::1::5\n" + rows)
        bad.writestr("movies.dat", good.read("ml/movies.dat"))

    features(tmp_path / "bad.zip", tmp_path / "features")

    quarantine = pl.read_parquet(tmp_path / "features" / QUARANTINE_FILE)
    assert quarantine.select("rule", "line", "text").rows() == [
        ("rating_range", 2, "1,1,9,1"),
        ("wrong_type", 3, "x,1,5,1"),
        ("field_count", 4, "1,1,5"),
    ]


def test_a_part_of_a_layout_names_what_is_missing(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("ml-100k/u.data", b"1\t1\t5\t1\n")

    with pytest.raises(DatasetError, match=r"exactly one u\.item") as caught:
        open_dataset(tmp_path / "x.zip")
    assert caught.value.expected == "one u.data and one u.item, in any folder"


def test_a_csv_is_preferred_to_the_older_files_beside_it(sample: Path, tmp_path: Path) -> None:
    path = tmp_path / "both.zip"
    path.write_bytes(sample.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("ratings.dat", b"bad")
        archive.writestr("movies.dat", b"bad")

    with open_dataset(path) as one, open_dataset(sample) as other:
        assert b"".join(one.chunks(RATINGS_CSV)) == b"".join(other.chunks(RATINGS_CSV))


def test_names_that_nobody_gave_are_not_found_and_the_setting_is_named(
    sample: Path, tmp_path: Path
) -> None:
    write_in_layout(sample, tmp_path / "other.zip", "given names")

    with pytest.raises(DatasetError, match=r"exactly one ratings\.csv"):
        open_dataset(tmp_path / "other.zip")
    only_files = DatasetColumns(ratings_file="events.csv", items_file="books.csv")
    with pytest.raises(DatasetError) as caught:
        features(tmp_path / "other.zip", tmp_path / "features", only_files)
    assert caught.value.found == "isbn,book,shelf"
    assert "features.columns" in caught.value.hint


@pytest.mark.parametrize("field", ["user", "item", "timestamp", "title", "categories"])
def test_a_given_name_counts_alone(sample: Path, tmp_path: Path, field: str) -> None:
    """A column of the usual name may be another one: what was said is not guessed past."""
    missing = DatasetColumns.model_validate({field: "elsewhere"})

    with pytest.raises(DatasetError) as caught:
        features(sample, tmp_path / "features", missing)
    assert "elsewhere" in str(caught.value.expected)


def test_the_given_file_is_read_although_one_of_the_usual_name_is_there(
    sample: Path, tmp_path: Path
) -> None:
    path = tmp_path / "both.zip"
    path.write_bytes(sample.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("events.csv", b"userId,movieId,rating,timestamp\n1,1,4,1000000000\n")

    with open_dataset(path, columns=DatasetColumns(ratings_file="events.csv")) as archive_of_both:
        assert b"".join(archive_of_both.chunks(RATINGS_CSV)).endswith(b"1,1,4,1000000000\n")


def test_given_names_change_the_features_and_no_names_change_nothing() -> None:
    assert FeatureSettings(columns=GIVEN).fingerprint != FeatureSettings().fingerprint
    assert "columns" not in FeatureSettings().model_dump(mode="json")
    given = FeatureSettings(columns=GIVEN)
    assert FeatureSettings.model_validate_json(given.model_dump_json()) == given


@pytest.mark.parametrize("name", ["", "a\nb", "../ratings.csv", "x" * 101])
def test_a_name_that_no_file_or_column_can_have_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        DatasetColumns(ratings_file=name)
