"""The scale of ratings: the map between it and stars, and its place in the build settings."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from recsys.contract import STARS, BuildSettings, FeatureSettings, RatingScale
from tests.contract_values import MD5, build, law

halves = st.integers(0, 200).map(lambda number: number / 2)
scales = (
    st.tuples(halves, halves)
    .filter(lambda ends: ends[1] >= ends[0] + 1)
    .map(lambda ends: RatingScale(min=ends[0], max=ends[1]))
)


@law
@given(scales, st.data())
def test_the_map_to_stars_keeps_ends_order_and_values(scale: RatingScale, data: st.DataObject):
    ratings = list(scale.steps())
    assert (ratings[0], ratings[-1]) == (scale.min, scale.max)
    assert all(scale.contains(rating) for rating in ratings)
    assert (scale.to_stars(scale.min), scale.from_stars(0.5)) == (0.5, scale.min)
    assert scale.to_stars(scale.max) == pytest.approx(5.0)
    first, second = sorted(data.draw(st.lists(st.sampled_from(ratings), min_size=2, max_size=2)))
    assert (scale.to_stars(first) < scale.to_stars(second)) is (first < second)
    assert scale.from_stars(scale.to_stars(first)) == pytest.approx(first, abs=1e-9)
    # A difference in stars is ``factor`` times as large in the scale.
    difference = scale.to_stars(second) - scale.to_stars(first)
    assert difference * scale.factor == pytest.approx(second - first, abs=1e-9)


@law
@given(scales)
def test_numbers_arrays_and_columns_are_mapped_alike(scale: RatingScale):
    ratings = list(scale.steps())
    numbers = [scale.to_stars(rating) for rating in ratings]
    assert scale.to_stars(np.array(ratings)).tolist() == pytest.approx(numbers, rel=1e-12)
    frame = pl.DataFrame({"rating": ratings}).select(scale.to_stars(pl.col("rating")))
    assert frame["rating"].to_list() == pytest.approx(numbers, rel=1e-12)


def test_stars_are_mapped_to_themselves_exactly():
    ratings = np.array(list(STARS.steps()), np.float32)
    assert ratings.tolist() == [half / 2 for half in range(1, 11)]
    assert STARS.to_stars(ratings).tolist() == ratings.tolist()
    assert STARS.from_stars(ratings).tolist() == ratings.tolist()
    assert STARS.factor == 1


@law
@given(scales)
def test_a_scale_survives_its_text_and_the_build_settings(scale: RatingScale):
    assert RatingScale.parse(str(scale)) == scale
    settings = BuildSettings(features=FeatureSettings(scale=scale))
    stored = build(**settings.model_dump(mode="json"))
    assert stored.features.scale == scale
    assert stored.model_validate_json(stored.model_dump_json()).features.scale == scale


@pytest.mark.parametrize(
    "text", ["", "1", "10:1", "1:1.5", "-1:10", "1:101", "0.3:5", "nan:5", "1:inf", "1e0:5", "1-10"]
)
def test_what_is_no_scale_is_refused(text: str):
    with pytest.raises(ValueError, match=r"scale|multiple|less than"):
        RatingScale.parse(text)


@pytest.mark.parametrize(
    "bad", [{"min": "x"}, {"low": 1}, {"min": 1, "max": float("nan")}, [1, 10]]
)
def test_a_scale_of_another_form_is_refused_in_the_settings(bad: object):
    with pytest.raises(ValidationError, match="scale"):
        FeatureSettings.model_validate({"scale": bad})


def test_the_default_scale_changes_no_fingerprint_and_no_release_id():
    # Those of releases that were made before there were scales.
    written = FeatureSettings(scale=RatingScale(min=0.5, max=5))
    assert "scale" not in written.model_dump(mode="json")
    assert FeatureSettings(revision=4).fingerprint == "cc4f1f2d1c4d3510"
    assert written.model_copy(update={"revision": 4}).fingerprint == "cc4f1f2d1c4d3510"
    settings = BuildSettings(features=FeatureSettings(revision=4)).model_dump(mode="json")
    assert build(**settings).release_id == "01234567-74668107"
    stated = BuildSettings(features=written.model_copy(update={"revision": 4}))
    assert build(**stated.model_dump(mode="json")).release_id == "01234567-74668107"


def test_another_scale_makes_other_features_and_another_release():
    ten = FeatureSettings(scale=RatingScale(min=1, max=10))
    assert ten.prefix(MD5) != FeatureSettings().prefix(MD5)
    made = build(**BuildSettings(features=ten).model_dump(mode="json"))
    assert made.release_id != build(**BuildSettings().model_dump(mode="json")).release_id
    assert made.settings["features"]["scale"] == {"min": 1.0, "max": 10.0}
