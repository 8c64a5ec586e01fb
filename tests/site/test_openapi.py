"""The API conforms to its OpenAPI description, for valid and invalid requests."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from recsys_site.app import create_app
from recsys_site.settings import SiteSettings

DESCRIPTION = create_app(SiteSettings(dsn="dbname=none", s3_bucket="none")).openapi()


def _raw(operation: Any) -> dict[str, Any]:
    described: dict[str, Any] = DESCRIPTION["paths"][operation.path][operation.method]
    return described


OPERATIONS = [
    found.ok() for found in schemathesis.openapi.from_dict(DESCRIPTION).get_all_operations()
]
# An operation without parameters has no invalid requests.
CASES = [
    pytest.param(operation, mode, id=f"{operation.label}, {mode.value}")
    for operation in OPERATIONS
    for mode in GenerationMode
    if mode == GenerationMode.POSITIVE or {"parameters", "requestBody"} & {*_raw(operation)}
]


@pytest.mark.parametrize(("operation", "mode"), CASES)
def test_the_api_conforms_to_its_description(site, operation: Any, mode: GenerationMode):
    strategy = operation.as_strategy(generation_mode=mode)

    @settings(
        max_examples=20,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        case = data.draw(strategy)
        case.call_and_validate(base_url=site.url, checks=CHECKS.get_all())

    ask()


def test_every_json_endpoint_is_described():
    assert set(DESCRIPTION["paths"]) == {
        "/api/release",
        "/api/movies",
        "/api/movies/{movie_id}",
        "/api/movies/{movie_id}/similar",
        "/api/users/{user_id}/recommendations",
        "/api/recommendations",
        "/healthz",
        "/readyz",
    }
