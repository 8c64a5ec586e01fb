"""Slices in the report: the worst first, with the champion and confidence intervals."""

from __future__ import annotations

from typing import Any

import pytest

from recsys.reports.slices import SliceView, slice_views
from tests.metrics_maker import GOOD, as_judged


def part(
    rmse: float, bias: float, champion: float | None = None, error: float | None = None
) -> dict[str, Any]:
    made: dict[str, Any] = {"rows": 10, "users": 5, "rmse": rmse, "baselines": {}}
    made["baselines"] = {"bias": {"rmse": bias}}
    if champion is not None:
        made["champion"] = {"rmse": champion, "candidate": {"rmse": rmse + 0.1}}
    if error is not None:
        made["standard_errors"] = {"rmse / bias": error, "rmse / champion": error / 2}
    return made


def view_of(**parts: dict[str, Any]) -> SliceView:
    [view] = slice_views(as_judged({**GOOD, "slices": {"user_activity": parts}}))
    return view


def test_the_slice_that_is_worst_against_the_baseline_comes_first() -> None:
    view = view_of(few=part(1.0, 1.1), many=part(0.9, 0.8), some=part(0.95, 0.95))
    assert [row.name for row in view.rows] == ["many", "some", "few"]
    assert (view.reference, view.has_champion) == ("bias", False)
    assert view.rows[0].change == pytest.approx(0.125)
    assert view.title == "RMSE by user activity"
    assert "First the slice that is worst against the bias; less is better" in view.caption


def test_with_a_champion_slices_are_compared_with_it_on_the_same_pairs() -> None:
    view = view_of(few=part(0.9, 1.0, champion=1.0), many=part(0.9, 2.0, champion=0.8))
    assert view.reference == "champion"
    assert [row.name for row in view.rows] == ["many", "few"]
    assert view.rows[0].same_pairs == pytest.approx(1.0)
    assert view.rows[0].change == pytest.approx(0.25)
    assert "neither was trained on" in view.caption


def test_a_slice_without_a_reference_comes_last() -> None:
    view = view_of(new=part(3.0, 0.0), few=part(0.9, 1.0))
    assert [(row.name, row.change is None) for row in view.rows] == [("few", False), ("new", True)]


@pytest.mark.parametrize(("champion", "half"), [(None, 0.02), (1.0, 0.01)])
def test_a_change_has_twice_its_standard_error(champion: float | None, half: float) -> None:
    [row] = view_of(few=part(0.9, 0.9, champion=champion, error=0.01)).rows
    assert row.error == pytest.approx(half)


@pytest.mark.parametrize("errors", [None, 7, {"rmse / bias": "much"}, {}])
def test_a_standard_error_that_is_missing_is_not_shown(errors: object) -> None:
    made = part(0.9, 0.9)
    made["standard_errors"] = errors
    assert view_of(few=made).rows[0].error is None


def test_an_ndcg_that_fell_most_comes_first() -> None:
    parts = {
        name: {"ndcg@10": value, "baselines": {"popularity": {"ndcg@10": 0.1}}}
        for name, value in (("a", 0.15), ("b", 0.05), ("c", 0.1))
    }
    [view] = slice_views(as_judged({**GOOD, "slices": {"genre": parts}}))
    assert [row.name for row in view.rows] == ["b", "c", "a"]
    assert "more is better" in view.caption
