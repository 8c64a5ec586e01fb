"""Laws of the split: nothing leaks, ties stay together, each row is in one part."""

from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.features.split import DAY, Cuts, find_moment, rows_by_day, split_rows

Row = tuple[int, int, int]
rows_strategy = st.lists(
    st.tuples(st.integers(1, 9), st.integers(1, 30), st.integers(0, 40)),
    max_size=120,
    unique_by=lambda row: row[:2],
)
cuts_strategy = st.builds(
    Cuts, st.floats(0.01, 0.49), st.one_of(st.none(), st.integers(min_value=-1, max_value=42))
)


def frame(rows: list[Row]) -> pl.DataFrame:
    schema = {"userId": pl.Int32, "movieId": pl.Int32, "timestamp": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(note=pl.lit("any"))


def part(table: pl.DataFrame, *names: str) -> pl.DataFrame:
    return table.filter(pl.col("split").cast(pl.String).is_in(names))


@given(rows_strategy, cuts_strategy)
def test_each_row_is_in_exactly_one_part_and_the_order_of_the_input_changes_nothing(
    rows: list[Row], cuts: Cuts
) -> None:
    table = split_rows(frame(rows), cuts)
    assert table["split"].null_count() == 0
    assert table.drop("split").equals(frame(rows).sort("userId", "timestamp", "movieId"))
    assert table.equals(split_rows(frame(rows[::-1]), cuts))


@given(rows_strategy, cuts_strategy)
def test_training_knows_nothing_of_the_moment_and_of_its_users_holdout(
    rows: list[Row], cuts: Cuts
) -> None:
    table = split_rows(frame(rows), cuts)
    train = part(table, "train")
    if cuts.moment is not None:
        assert (train["timestamp"] < cuts.moment).all()
        assert (part(table, "later")["timestamp"] >= cuts.moment).all()
    else:
        assert part(table, "later").is_empty()
    # Strictly before: two ratings of one second are never on both sides of a cut.
    last = train.group_by("userId").agg(last=pl.col("timestamp").max())
    held = part(table, "holdout").join(last, on="userId", how="left")
    assert held["last"].null_count() == 0, "a user of the holdout has a training row"
    assert (held["last"] < held["timestamp"]).all()
    newest_other = part(table, "train", "later").group_by("userId").agg(pl.col("timestamp").max())
    both = part(table, "holdout").join(newest_other, on="userId")
    assert (both["timestamp_right"] < both["timestamp"]).all(), "the holdout is the newest"


@pytest.mark.parametrize("single_day", [True, False])
def test_ratings_of_one_second_are_cut_in_a_dataset_of_a_single_day_only(single_day: bool) -> None:
    rows = [(user, movie, 5) for user in (1, 2) for movie in range(10)]
    table = split_rows(frame(rows), Cuts(0.2, single_day=single_day))
    held = part(table, "holdout").group_by("userId").agg(pl.col("movieId")).sort("userId")
    expected = [(1, [8, 9]), (2, [8, 9])] if single_day else []
    assert held.rows() == expected


def test_ratings_of_several_seconds_of_a_single_day_are_cut_between_them() -> None:
    rows = [(1, movie, 5 + (movie >= 9)) for movie in range(10)]
    table = split_rows(frame(rows), Cuts(0.3, single_day=True))
    assert part(table, "holdout")["movieId"].to_list() == [9]


@given(rows_strategy, cuts_strategy)
def test_a_user_without_a_row_before_the_moment_is_later_as_a_whole(
    rows: list[Row], cuts: Cuts
) -> None:
    table = split_rows(frame(rows), cuts)
    for (_,), own in table.group_by("userId"):
        first = own["timestamp"].to_list()[0]
        is_new = cuts.moment is not None and first >= cuts.moment
        assert (own["split"] == "later").all() == is_new
        assert (own["split"] == "train").any() != is_new


@given(rows_strategy, st.floats(0.01, 0.49))
def test_without_ties_the_holdout_is_the_rounded_share_of_the_newest_rows(
    rows: list[Row], share: float
) -> None:
    untied = [(user, movie, place) for place, (user, movie, _) in enumerate(rows)]
    for (_,), own in split_rows(frame(untied), Cuts(share)).group_by("userId"):
        held = (own["split"] == "holdout").sum()
        rounded = math.floor(own.height * share + 0.5)
        assert held == rounded or (rounded == 0 and held == 1 and own.height > 1)


@given(rows_strategy, st.floats(0.01, 0.49))
def test_the_cut_is_the_nearest_change_of_the_timestamp(rows: list[Row], share: float) -> None:
    for (_,), own in split_rows(frame(rows), Cuts(share)).group_by("userId"):
        n, times = own.height, own["timestamp"].to_list()
        held = int((own["split"] == "holdout").sum())
        wanted = math.floor(n * share + 0.5)
        possible = [k for k in range(1, n // 2 + 1) if times[n - k - 1] != times[n - k]]
        if not possible:
            assert held == 0
        elif wanted:
            assert held in possible
            assert abs(held - wanted) == min(abs(k - wanted) for k in possible)


def test_users_with_few_ratings_are_evaluated_in_proportion() -> None:
    users = 4000
    for n in (2, 3, 4):
        rows = [(user, movie, movie) for user in range(1, users + 1) for movie in range(1, n + 1)]
        table = split_rows(frame(rows), Cuts(0.1))
        held = table.filter(pl.col("split") == "holdout")
        assert held["userId"].is_unique().all()
        assert held.height / users == pytest.approx(n * 0.1, abs=0.02)
    single = split_rows(frame([(user, 1, 1) for user in range(1, 99)]), Cuts(0.1))
    assert (single["split"] == "train").all()


def test_the_moment_is_the_earliest_day_with_at_most_the_share_of_the_rows_after_it() -> None:
    times = [day * DAY + second for day in range(10) for second in (0, DAY - 1)]
    days = rows_by_day(pl.LazyFrame({"timestamp": times})).collect()
    assert find_moment(days.sample(fraction=1, shuffle=True, seed=1), 0.2) == 8 * DAY
    assert find_moment(days, 0.199) == 9 * DAY
    assert find_moment(days, 0.09) is None, "the last day alone is a tenth"
    assert find_moment(days, 0.0) is None
    assert find_moment(days.clear(), 0.2) is None
    assert find_moment(days.head(1), 0.4) is None


@given(st.lists(st.integers(0, 30 * DAY), min_size=1, max_size=80), st.floats(0, 0.49))
def test_the_moment_leaves_rows_on_both_sides(times: list[int], share: float) -> None:
    moment = find_moment(rows_by_day(pl.LazyFrame({"timestamp": times})).collect(), share)
    if moment is not None:
        later = sum(time >= moment for time in times)
        assert 0 < later <= share * len(times)
        assert moment % DAY == 0
