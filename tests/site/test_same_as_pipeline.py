"""Code that the site duplicates, because its image has no `recsys`, agrees with the pipeline's."""

from __future__ import annotations

import io

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import release_reader
from recsys import contract
from recsys.recommend import Catalog as PipelineCatalog
from recsys.recommend import cold_start as pipeline_cold_start
from recsys_site import cold_start as site_cold_start
from recsys_site.catalog import Catalog as SiteCatalog
from recsys_site.titles import split_title

TITLES = {
    1: "Toy Story (1995)",
    2: "Toy Story 2 (1999)",
    3: "Matrix, The (1999)",
    4: "Matrix Reloaded, The (2003)",
    5: "City of Lost Children, The (Cité des enfants perdus, La) (1995)",
    6: "Avventura, L' (Adventure, The) (1960)",
    7: "Beautiful Mind, A (2001)",
    8: "Good, the Bad and the Ugly, The (Buono, il brutto, il cattivo, Il) (1966)",
    9: "Babylon 5",
    10: "Amelie (Fabuleux destin d'Amélie Poulain, Le) (2001)",
    11: "(500) Days of Summer (2009)",
    12: "Olvidados, Los (1950)",
    13: "Schweigende Stern, Der (First Spaceship on Venus) (1960)",
}


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 10).map(lambda halves: halves / 2), max_size=40),
)
def test_cold_start_vectors_are_equal(seed: int, stars: list[float]) -> None:
    rng = np.random.default_rng(seed)
    movies = rng.normal(size=(60, 8)).astype(np.float32)
    towers = dict(enumerate(movies))
    histories = [rng.choice(60, 35, replace=False).tolist() for _ in range(30)]
    users = rng.normal(size=(30, 8)).astype(np.float32)
    rated = movies[rng.choice(60, len(stars), replace=False)]
    vectors = [
        module.ColdStartMap.learn(
            users, np.array([module.mean_history(seen, towers) for seen in histories])
        ).user_vector(rated, np.array(stars, np.float32))
        for module in (site_cold_start, pipeline_cold_start)
    ]
    assert np.array_equal(*vectors)


@pytest.fixture(scope="module")
def catalogs() -> tuple[SiteCatalog, PipelineCatalog]:
    movies = pl.DataFrame(
        {
            "movieId": list(TITLES),
            "title": list(TITLES.values()),
            "year": [None] * len(TITLES),
            "genres": [["Drama"]] * len(TITLES),
        },
        schema_overrides={"year": pl.Int16},
    )
    return SiteCatalog.from_parquet(write_parquet(movies), {}), PipelineCatalog(movies)


def write_parquet(frame: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.write_parquet(file)
    return file.getvalue()


@pytest.mark.parametrize("movie_id", TITLES)
def test_a_title_that_one_of_them_shows_is_found_by_the_other(
    catalogs: tuple[SiteCatalog, PipelineCatalog], movie_id: int
) -> None:
    site, pipeline = catalogs
    shown = split_title(TITLES[movie_id]).name
    assert site.movie(movie_id).title == shown
    assert pipeline.find(shown).movie_id == movie_id
    if "'" not in shown.partition(" (")[0]:  # the site reads L'Avventura as one word
        found = site.search(pipeline.movie(movie_id).title.rpartition(" (")[0] or shown, 20)
        assert movie_id in {movie.movie_id for movie in found.movies}


@pytest.mark.parametrize(
    ("text", "movie_id"),
    [("toy story", 1), ("the matrix", 3), ("Matrix", 3), ("beautiful mind", 7), ("Babylon", 9)],
)
def test_both_prefer_the_same_movie(
    catalogs: tuple[SiteCatalog, PipelineCatalog], text: str, movie_id: int
) -> None:
    site, pipeline = catalogs
    assert pipeline.find(text).movie_id == movie_id
    assert site.search(text, 20).movies[0].movie_id == movie_id


def test_the_reader_uses_the_names_of_the_contract() -> None:
    assert release_reader.CHANNEL == contract.CHANNEL
    properties = {
        name
        for name, value in vars(release_reader.CurrentRelease).items()
        if isinstance(value, property)
    }
    assert properties <= {table.name for table in contract.PUBLIC_TABLES}
