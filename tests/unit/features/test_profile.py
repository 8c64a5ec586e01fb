from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from recsys.features.profile import MAX_GAPS, MAX_GENRES, Profiler
from recsys.features.split import Cuts, split_rows
from recsys.features.stats import Gap, Profile
from recsys.features.validation import MOVIE_SCHEMA, RATING_SCHEMA

DAY = 86_400
Row = tuple[int, int, float, int]
rows_strategy = st.lists(
    st.tuples(
        st.integers(1, 6),
        st.integers(1, 9),
        st.integers(1, 10).map(lambda half_stars: half_stars / 2),
        st.integers(0, 4_102_444_799),
    ),
    min_size=1,
    max_size=50,
    unique_by=lambda row: row[:2],
)
MOVIES = pl.DataFrame(
    [
        (movie, f"Movie {movie}", 1985 + movie if movie < 9 else None, ["Drama"] * (movie % 2))
        for movie in range(1, 10)
    ],
    schema=MOVIE_SCHEMA,
    orient="row",
)


def interactions(rows: list[Row]) -> pl.DataFrame:
    frame = pl.DataFrame([(*row, 0) for row in rows], schema=RATING_SCHEMA, orient="row")
    return split_rows(frame, Cuts(0.1))


def profile_of(parts: list[pl.DataFrame], movies: pl.DataFrame = MOVIES) -> Profile:
    profiler = Profiler()
    for part in parts:
        profiler.add(part)
    return profiler.profile(movies)


@given(rows_strategy)
def test_every_distribution_counts_everything_once(rows: list[Row]) -> None:
    profile = profile_of([interactions(rows)])
    users, movies = Counter(row[0] for row in rows), Counter(row[1] for row in rows)
    assert {s: n for s, n in profile.ratings.items() if n} == dict(
        Counter(f"{row[2]:.1f}" for row in rows)
    )
    assert sum(profile.user_activity.values()) == len(users)
    assert profile.user_activity["1"] == sum(n == 1 for n in users.values())
    assert profile.user_activity.get("2-3", 0) == sum(n in (2, 3) for n in users.values())
    assert profile.movie_popularity["0"] == 9 - len(movies)
    assert sum(profile.movie_popularity.values()) == 9
    assert sum(profile.growth.values()) == len(rows)
    assert profile.user_ids == (min(users), max(users))
    assert profile.movie_ids == (min(movies), max(movies))
    assert profile.release_years == {"1980s": 4, "1990s": 4, "none": 1}
    assert profile.genres == {"Drama": 5, "none": 4}


@given(rows_strategy)
def test_a_profile_does_not_depend_on_the_parts(rows: list[Row]) -> None:
    table = interactions(rows)
    assert profile_of(table.partition_by("userId")) == profile_of([table])


def test_growth_is_by_quarter_and_the_longest_gaps_are_listed() -> None:
    def at(year: int, month: int, day: int) -> int:
        return int(datetime(year, month, day, 12, tzinfo=UTC).timestamp())

    times = [at(1999, 12, 31), at(2000, 1, 1), at(2000, 1, 4), at(2000, 12, 31)]
    profile = profile_of([interactions([(1, i + 1, 4.0, t) for i, t in enumerate(times)])])
    assert profile.growth == {"1999-Q4": 1, "2000-Q1": 2, "2000-Q4": 1}
    assert profile.gaps == [Gap(after="2000-01-04", days=361), Gap(after="2000-01-01", days=2)]


def test_a_profile_is_of_bounded_size_for_any_dataset() -> None:
    movies = pl.DataFrame(
        [
            (i, f"Movie {i}", 1800 + i % 300, [f"{i % 500}" + "x" * 1000, f"genre {i}"])
            for i in range(1, 2001)
        ],
        schema=MOVIE_SCHEMA,
        orient="row",
    )
    rows = [(i, i, 5.0, i * 2_000_000) for i in range(1, 2001)]
    profile = profile_of([interactions(rows)], movies)
    assert len(profile.gaps) == MAX_GAPS
    assert len(profile.genres) == MAX_GENRES + 1
    assert sum(profile.genres.values()) == 4000
    assert len(json.dumps(profile.model_dump(mode="json"))) < 20_000
