import numpy as np
import polars as pl
import pytest

from recsys.errors import DatasetError
from trainer.data import check_tables, make_ratings, movie_content

Tables = tuple[pl.DataFrame, pl.DataFrame]


def test_interactions_are_sorted_by_user_and_time(small: Tables) -> None:
    interactions, movies = small
    ratings = make_ratings(interactions, movies)
    shuffled = make_ratings(
        interactions.sample(fraction=1, shuffle=True, seed=1),
        movies.sample(fraction=1, shuffle=True, seed=2),
    )
    for name in ("user_ids", "movie_ids", "content", "user", "movie", "stars"):
        np.testing.assert_array_equal(getattr(ratings, name), getattr(shuffled, name))
    np.testing.assert_array_equal(
        ratings.movie_ids[ratings.movie], interactions["movieId"].to_numpy()
    )
    assert ratings.user_count.sum() == len(ratings)


def test_content_is_genres_and_a_quantile_of_the_year() -> None:
    movies = pl.DataFrame(
        {
            "movieId": [1, 2, 3, 4],
            "year": [1950, 2000, None, 2000],
            "genres": [["Drama"], ["Comedy", "Drama"], ["(no genres listed)"], None],
        },
        schema={"movieId": pl.Int32, "year": pl.Int16, "genres": pl.List(pl.String)},
    )
    content = movie_content(movies)
    genres, years = content[:, :2], content[:, 2:]
    assert genres.tolist() == [[0, 1], [1, 1], [0, 0], [0, 0]]
    assert years.sum(axis=1).tolist() == [1, 1, 0, 1]
    assert years[1].tolist() == years[3].tolist() != years[0].tolist()


def test_movies_without_any_content_are_zeros() -> None:
    movies = pl.DataFrame(
        {"movieId": [1, 2], "year": [None, None], "genres": [[], []]},
        schema={"movieId": pl.Int32, "year": pl.Int16, "genres": pl.List(pl.String)},
    )
    assert not movie_content(movies).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, m: (i.head(0), m), "no interaction is marked 'train'"),
        (lambda i, m: (i.filter(pl.col("split") == "train"), m), "is marked 'holdout'"),
        (lambda i, m: (i.filter(pl.col("userId") == 7), m), "a single userId"),
        (lambda i, m: (i.with_columns(rating=pl.lit(4.0)), m), "a single rating"),
        (lambda i, m: (i.with_columns(rating=pl.col("rating") * 2), m), "the scale of the dataset"),
        (lambda i, m: (i.with_columns(rating=pl.lit(float("nan"))), m), "rating"),
        (lambda i, m: (i.with_columns(movieId=pl.lit(None)), m), "contains nulls"),
        (lambda i, m: (i.with_columns(userId=pl.lit("x")), m), "a wrong type"),
        (lambda i, m: (i.drop("timestamp"), m), "lacks columns"),
        (lambda i, m: (i, m.drop("genres")), "lacks columns"),
        (lambda i, m: (i, m.head(100)), "movies that are missing in the table of movies"),
        (lambda i, m: (i, pl.concat([m, m.head(1)])), "a movieId occurs twice"),
    ],
)
def test_invalid_tables_are_refused(small: Tables, change: object, message: str) -> None:
    assert callable(change)
    with pytest.raises(DatasetError, match=message):
        check_tables(*change(*small))
