"""Builds, and the ids of their releases."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from recsys import contract
from recsys.contract import (
    Build,
)
from tests.contract_values import (
    DIGEST,
    MD5,
    build,
    builds,
    law,
    reordered,
)


def test_the_id_of_a_known_build_never_changes() -> None:
    # Another way to hash would make the ledger unable to find any earlier release.
    known = build(features={"revision": 1}, trainer={"overrides": {}, "seed": 20})
    assert known.fingerprint == "a1f5f5d9453b748db0c925a63832bd30629976f5701f01273bbbe21ca68dc362"
    assert known.release_id == "01234567-a1f5f5d9"


@law
@given(builds)
def test_the_order_of_settings_does_not_change_the_release_id(made: Build) -> None:
    again = made.model_copy(update={"settings": reordered(made.settings)})
    assert again.fingerprint == made.fingerprint


@law
@given(builds)
def test_a_release_id_is_well_formed_and_starts_with_the_md5_of_the_dataset(made: Build) -> None:
    assert contract.check_release_id(made.release_id) == made.release_id
    assert made.release_id.startswith(made.dataset_md5[:8] + "-")


@law
@given(builds, st.data())
def test_any_change_of_a_build_changes_its_fingerprint_and_its_id(
    made: Build, data: st.DataObject
) -> None:
    settings = made.settings
    name = data.draw(st.sampled_from(sorted(settings) or ["new"]))
    rotated = str.maketrans("0123456789abcdef", "123456789abcdef0")
    changes: list[dict[str, Any]] = [
        {"dataset_md5": made.dataset_md5.translate(rotated)},
        {"trainer_digest": "sha256:" + made.trainer_digest[7:].translate(rotated)},
        {"settings": {**settings, name: {"was": settings.get(name)}}},
        {"settings": {**settings, name + "'": None}},
    ]
    if name in settings:
        changes.append({"settings": {k: v for k, v in settings.items() if k != name}})
    all_of_them = [made, *(made.model_copy(update=change) for change in changes)]
    assert len({b.fingerprint for b in all_of_them}) == len(all_of_them)
    assert len({b.release_id for b in all_of_them}) == len(all_of_them)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), [{"deep": float("-inf")}], {1, 2}, b"x", object()]
)
def test_settings_that_are_not_json_are_rejected(value: object) -> None:
    # As null they would pass for another build.
    with pytest.raises(ValidationError, match="settings"):
        build(value=value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_settings_that_are_not_json_are_rejected_in_an_environment_too(number: str) -> None:
    text = f'{{"dataset_md5":"{MD5}","trainer_digest":"{DIGEST}","settings":{{"a":{number}}}}}'
    with pytest.raises(ValidationError, match="settings"):
        Build.model_validate_json(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dataset_md5", MD5.upper()),
        ("dataset_md5", MD5 + "\n"),
        ("dataset_md5", MD5[:-1]),
        ("dataset_md5", "'; drop table releases; --"),
        ("trainer_digest", "a" * 64),
        ("trainer_digest", "sha256:" + "A" * 64),
        ("trainer_digest", "latest"),
        ("another", 1),
    ],
)
def test_a_build_with_an_invalid_field_is_rejected(field: str, value: object) -> None:
    given_fields = {"dataset_md5": MD5, "trainer_digest": DIGEST, "settings": {}, field: value}
    with pytest.raises(ValidationError, match=field):
        Build.model_validate(given_fields)
