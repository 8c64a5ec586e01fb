"""How much two files of a release differ."""

import json
from pathlib import Path

import polars as pl
import pytest

from recsys.pipeline.parts import Difference, compare_files
from recsys.pipeline.reproduction import Part, Reproduction, ReproductionVerdict


def compared(tmp_path: Path, one: object, other: object, name: str = "metrics.json") -> Difference:
    paths = tmp_path / "recorded", tmp_path / name
    for path, value in zip(paths, (one, other), strict=True):
        path.write_text(json.dumps(value))
    return compare_files(*paths)


def test_the_comparison_with_the_champion_of_that_time_is_left_out(tmp_path: Path) -> None:
    on_slice = {"rmse": 0.9, "standard_errors": {"rmse / bias": 0.1}}
    one = {
        "rmse": 0.8,
        "champion": {"rmse": 0.9},
        "slices": {"genre": {"Drama": {**on_slice, "champion": {"rmse": 1.0}}}},
        "confidence": {"rmse - champion": [0.1, 0.2]},
        "later": {"champion": None},
    }
    one["slices"]["genre"]["Drama"]["standard_errors"]["rmse / champion"] = 0.2
    other = {"rmse": 0.8, "slices": {"genre": {"Drama": on_slice}}, "confidence": {}, "later": {}}
    other["slices"]["genre"]["Drama"]["standard_errors"].pop("rmse / champion", None)
    found = compared(tmp_path, one, other)

    assert found.is_none
    assert found.detail == "equal, but for times"


def test_the_seconds_of_epochs_are_left_out(tmp_path: Path) -> None:
    one, other = ({"served": [{"loss": 1.0, "seconds": taken}]} for taken in (3.0, 4.0))

    assert compared(tmp_path, one, other, "training_history.json").is_none


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("metrics.json", "champion_share"),
        ("metrics.json", "seconds"),
        ("metrics.json", "championship"),
        ("golden.json", "champion"),
        ("training_history.json", "served_seconds"),
        ("training_history.json", "champion"),
    ],
)
def test_fields_with_names_like_these_are_compared(tmp_path: Path, name: str, field: str) -> None:
    found = compared(tmp_path, {field: 1.0}, {field: 2.0}, name)

    assert found == Difference(1.0, f"{field} by 1")


def test_a_genre_that_is_called_champion_is_compared(tmp_path: Path) -> None:
    one, other = ({"slices": {"genre": {"champion": {"rmse": value}}}} for value in (1.0, 1.5))

    assert compared(tmp_path, one, other) == Difference(0.5, "slices.genre.champion.rmse by 0.5")


def test_the_largest_difference_is_named(tmp_path: Path) -> None:
    one = {"a": {"rmse": 0.8}, "rows": [1, 2.0]}
    found = compared(tmp_path, one, {"a": {"rmse": 0.80002}, "rows": [1, 2.5]})

    assert found == Difference(0.5, "rows[1] by 0.5")


@pytest.mark.parametrize(
    ("one", "other", "detail"),
    [
        ({"a": 1}, {"b": 1}, "other fields: a, b"),
        ({"a": [1]}, {"a": [1, 2]}, "other fields: a[1]"),
        ({"a": "x"}, {"a": "y"}, "a: 'x', now 'y'"),
        ({"a": True}, {"a": 0}, "a: True, now 0"),
        ({"a": 1.0}, {"a": None}, "a: 1.0, now None"),
    ],
)
def test_what_has_no_number_cannot_be_close(
    tmp_path: Path, one: object, other: object, detail: str
) -> None:
    assert compared(tmp_path, one, other) == Difference(None, detail)


def frames(tmp_path: Path, one: pl.DataFrame, other: pl.DataFrame) -> Difference:
    paths = tmp_path / "one.parquet", tmp_path / "other.parquet"
    one.write_parquet(paths[0])
    other.write_parquet(paths[1])
    return compare_files(*paths)


def test_vectors_are_compared_component_by_component(tmp_path: Path) -> None:
    kind = {"id": pl.Int32, "vector": pl.Array(pl.Float32, 2), "seen": pl.List(pl.Int32)}
    one = pl.DataFrame({"id": [1], "vector": [[0.5, 1.0]], "seen": [[1, 2]]}, schema=kind)
    other = pl.DataFrame({"id": [1], "vector": [[0.5, 1.25]], "seen": [[1, 2]]}, schema=kind)

    assert frames(tmp_path, one, other) == Difference(0.25, "vector by 0.25")
    changed = one.with_columns(seen=pl.Series([[1, 3]], dtype=pl.List(pl.Int32)))
    assert frames(tmp_path, one, changed) == Difference(None, "other values of seen")
    assert frames(tmp_path, one, one.head(0)).largest is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([None, 1.0], [5.0, 1.0]),
        ([[1.0], [2.0, 3.0]], [[1.0, 2.0], [3.0]]),
        ([[], [1.0]], [[1.0], []]),
    ],
)
def test_a_missing_value_or_another_length_is_no_equal_file(
    tmp_path: Path, one: list[object], other: list[object]
) -> None:
    """Without them, every number that both files have is the same."""
    found = frames(tmp_path, pl.DataFrame({"x": one}), pl.DataFrame({"x": other}))

    assert found == Difference(None, "other values of x")


def test_other_bytes_say_no_more(tmp_path: Path) -> None:
    paths = tmp_path / "one.keras", tmp_path / "other.keras"
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]))

    assert compare_files(*paths) == Difference(None, "other bytes")


@pytest.mark.parametrize(
    ("model", "metrics", "verdict"),
    [
        (0.0, 0.0, ReproductionVerdict.IDENTICAL),
        (None, 0.0, ReproductionVerdict.CLOSE),
        (None, 9e-5, ReproductionVerdict.CLOSE),
        (0.0, 2e-4, ReproductionVerdict.DIFFERENT),
        (None, None, ReproductionVerdict.DIFFERENT),
    ],
)
def test_metrics_decide_when_parts_differ(
    model: float | None, metrics: float | None, verdict: ReproductionVerdict
) -> None:
    parts = (
        Part("interactions.parquet", None),
        Part("model.keras", Difference(model, "")),
        Part("metrics.json", Difference(metrics, "")),
    )

    assert Reproduction("x", parts, ()).verdict is verdict
