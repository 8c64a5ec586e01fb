"""Metrics of a release: parsing of any JSON document, the schema number, and the stored layout."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recsys.contract import METRICS_SCHEMA, Metrics, MetricsPart
from recsys.errors import ArtifactError
from tests.metrics_maker import GOOD, put, scored

law = hypothesis_settings(deadline=None)  # a loaded machine is no failure

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(st.sampled_from([*GOOD, *GOOD["model"], "few"]), inside, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("document", [GOOD, scored(GOOD)], ids=["first", "with a champion"])
def test_the_stored_layout_is_the_documents_with_a_schema_number(document: dict[str, Any]) -> None:
    metrics = Metrics.model_validate(document)

    stored = metrics.to_json()

    assert json.loads(stored) == document | {"metrics_schema": METRICS_SCHEMA}
    assert Metrics.from_json(stored) == metrics


def test_metrics_without_a_schema_number_are_read_as_the_first_schema() -> None:
    assert "metrics_schema" not in GOOD
    metrics = Metrics.from_json(json.dumps(GOOD))
    assert metrics.metrics_schema == 1
    assert metrics.model.value("ndcg@10") == metrics.model.ndcg_10 == GOOD["model"]["ndcg@10"]


def test_metrics_of_a_newer_schema_are_rejected_with_what_to_do() -> None:
    newer = json.dumps(GOOD | {"metrics_schema": METRICS_SCHEMA + 1})
    expected = f"found {METRICS_SCHEMA + 1}, expected at most {METRICS_SCHEMA}.*upgrade recsys"
    with pytest.raises(ArtifactError, match=expected):
        Metrics.from_json(newer)


@pytest.mark.parametrize("text", ["", "3", "null", "[]", '{"metrics_schema": "1"}'])
def test_text_that_is_not_metrics_is_rejected(text: str) -> None:
    with pytest.raises(ArtifactError, match="metrics of the release cannot be read"):
        Metrics.from_json(text)


def test_unknown_fields_are_kept() -> None:
    document = GOOD | {"later": {"x": 1}}
    document = put(document, ("model", "later"), 0.5)
    assert json.loads(Metrics.model_validate(document).to_json())["model"]["later"] == 0.5
    assert json.loads(Metrics.model_validate(document).to_json())["later"] == {"x": 1}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        ("0.5", "'0.5'"),
        (True, "True"),
        ([1], "[1]"),
        (-1e308, "-1e+308"),
        (10**400, "1" + "0" * 39),
        (10**5000, "a very large integer"),
    ],
    ids=["nan", "infinity", "text", "bool", "list", "huge", "400 digits", "5000 digits"],
)
def test_a_value_that_is_not_a_finite_number_is_none_and_is_reported(
    value: object, shown: str
) -> None:
    metrics = Metrics.model_validate(put(GOOD, ("model", "rmse"), value))
    assert metrics.model.rmse is None
    assert metrics.model.invalid_value("rmse") == shown
    assert metrics.model.mae == GOOD["model"]["mae"]
    assert metrics.model.invalid_value("mae") is None


@law
@given(documents, st.sampled_from([*GOOD]))
def test_every_document_is_read_with_finite_numbers_only(value: Any, key: str) -> None:
    metrics = Metrics.model_validate(GOOD | {key: value})
    assert all(map(math.isfinite, _numbers(metrics)))


def _numbers(value: Any) -> list[float]:
    if isinstance(value, MetricsPart):
        return [n for name in type(value).model_fields for n in _numbers(getattr(value, name))]
    if isinstance(value, dict):
        return [n for item in value.values() for n in _numbers(item)]
    if isinstance(value, list | tuple):
        return [n for item in value for n in _numbers(item)]
    return [value] if isinstance(value, int | float) else []
