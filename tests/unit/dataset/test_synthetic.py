from __future__ import annotations

import hashlib
from pathlib import Path

import polars as pl
import pytest

from recsys.dataset import MOVIES_CSV, RATINGS_CSV, open_dataset, read_source_md5, write_sample
from recsys.errors import ConfigurationError
from recsys.features import read_movies, read_ratings
from recsys.features.csv_reader import Batch


def read(path: Path) -> tuple[Batch, pl.DataFrame, int]:
    with open_dataset(path) as archive:
        movies = read_movies(archive.chunks(MOVIES_CSV))
        batches = list(read_ratings(archive.chunks(RATINGS_CSV), movies.rows["movieId"]))
    broken = sum(batch.rejected.counts.total() for batch in batches)
    return movies, pl.concat(b.rows for b in batches), broken


@pytest.mark.parametrize(
    ("ratings", "users", "movies"),
    [
        (1, None, None),
        (50, None, None),
        (3000, None, None),
        (900, 30, 30),
        (7, 7, 1),
        (2000, 4, 600),
    ],
)
def test_a_sample_is_a_valid_dataset_of_the_requested_size(
    tmp_path: Path, ratings: int, users: int | None, movies: int | None
) -> None:
    path = tmp_path / "sample.zip"
    info = write_sample(path, ratings=ratings, users=users, movies=movies)
    films, rows, broken = read(path)
    assert broken == films.rejected.counts.total() == 0
    assert rows.height == info.ratings == ratings
    assert rows["userId"].n_unique() == info.users == (users or info.users)
    assert films.rows.height == info.movies == (movies or info.movies)
    assert rows.select("userId", "movieId").is_unique().all()
    with path.open("rb") as file:
        assert hashlib.file_digest(file, "md5").hexdigest() == info.md5
    assert read_source_md5(str(path)) == info.md5


def test_the_bytes_depend_on_the_seed_only(tmp_path: Path) -> None:
    md5s = [
        write_sample(tmp_path / f"{i}.zip", ratings=2000, seed=seed).md5
        for i, seed in enumerate([5, 5, 6])
    ]
    assert md5s[0] == md5s[1] != md5s[2]


def test_a_sample_has_structure_that_models_can_learn(tmp_path: Path) -> None:
    write_sample(tmp_path / "sample.zip", ratings=40_000)
    films, rows, _ = read(tmp_path / "sample.zip")
    by_movie = rows["movieId"].value_counts(sort=True)["count"]
    assert by_movie.head(by_movie.len() // 10).sum() > 0.3 * rows.height
    assert 3.2 < float(rows["rating"].mean()) < 3.8  # type: ignore[arg-type]  # a number
    assert 0.8 < float(rows["rating"].std()) < 1.2  # type: ignore[arg-type]  # a number
    # Means of users and movies vary more than noise alone would explain.
    for key in ("userId", "movieId"):
        means = rows.group_by(key).agg(mean=pl.col("rating").mean(), n=pl.len())
        often = means.filter(pl.col("n") >= 30)["mean"]
        assert float(often.std()) > 2 / 30**0.5 / 2  # type: ignore[arg-type]  # a number
    dated = rows.join(films.rows.select("movieId", "year"), on="movieId")
    too_early = pl.from_epoch("timestamp").dt.year() < pl.col("year")
    assert dated.select(too_early.mean()).item() < 0.01
    assert films.rows.filter(pl.col("title").str.contains(", The (", literal=True)).height > 0


def test_more_ratings_than_pairs_are_rejected_and_no_file_is_left(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no sample of this size"):
        write_sample(tmp_path / "sample.zip", ratings=100, users=9, movies=11)
    assert not list(tmp_path.iterdir())


def test_progress_ends_at_the_number_of_ratings(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    write_sample(
        tmp_path / "sample.zip", ratings=500, progress=lambda done, of: seen.append((done, of))
    )
    assert seen[-1] == (500, 500)
