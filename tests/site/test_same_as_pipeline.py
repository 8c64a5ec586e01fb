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
from recsys.recommend import reasons as pipeline_reasons
from recsys_site import answers
from recsys_site import cold_start as site_cold_start
from recsys_site import scale as site_scale
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
def test_cold_start_users_get_the_same_movies(seed: int, stars: list[float]) -> None:
    rng = np.random.default_rng(seed)
    movies = rng.normal(size=(60, 8)).astype(np.float32)
    movies /= np.linalg.norm(movies, axis=1, keepdims=True)
    counts = {int(movie): int(rng.integers(0, 500)) for movie in range(0, 60, 2)}
    rated = movies[rng.choice(60, len(stars), replace=False)]
    found = []
    for module in (site_cold_start, pipeline_cold_start):
        profile = module.make_profile(rated, np.array(stars, np.float32))
        found.append(module.rank(dict(enumerate((movies @ profile).tolist())), counts, 12))
    assert found[0] == found[1]
    for name in ("NEAREST", "MOST_RATED", "NEUTRAL_STARS", "POPULARITY_EXPONENT"):
        assert getattr(site_cold_start, name) == getattr(pipeline_cold_start, name)


@given(
    st.tuples(st.integers(0, 200), st.integers(0, 200)).filter(lambda ends: ends[1] >= ends[0] + 2),
    st.floats(0, 100),
)
def test_ratings_are_mapped_to_stars_alike(ends: tuple[int, int], rating: float) -> None:
    least, largest = (half / 2 for half in ends)
    ours = site_scale.RatingScale(least, largest)
    theirs = contract.RatingScale(min=least, max=largest)
    assert ours.to_stars(rating) == pytest.approx(theirs.to_stars(rating), abs=1e-9)
    assert ours.contains(rating) == theirs.contains(rating)
    assert list(ours.choices(halves=True)) == list(theirs.steps())
    assert ours.is_stars == theirs.is_stars
    settings = contract.BuildSettings(features=contract.FeatureSettings(scale=theirs))
    manifest = {"build": {"settings": settings.model_dump(mode="json")}}
    assert site_scale.read_scale(manifest) == ours


GENRES = st.frozensets(st.sampled_from(["Drama", "Crime", "Animation"]))


@given(GENRES, GENRES)
def test_genres_are_compared_alike(some: frozenset[str], others: frozenset[str]) -> None:
    expected = pipeline_reasons.share_genre(some, others)
    assert answers.share_genre(some, others) == expected
    assert answers.share_genre(others, some) == expected


@given(
    st.lists(
        st.dictionaries(st.integers(1, 6), st.floats(0.4, 1), min_size=1).map(
            lambda near: (0, near)
        ),
        max_size=12,
    )
)
def test_recommendations_get_the_same_reasons(near: list[tuple[int, dict[int, float]]]) -> None:
    recommended = [(100 + place, cosines) for place, (_, cosines) in enumerate(near)]
    theirs = pipeline_reasons.choose_reasons(recommended)
    assert answers.choose_reasons(recommended) == {m: own for m, (own, _) in theirs.items()}
    assert answers.MIN_COSINE == pipeline_reasons.MIN_COSINE


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
