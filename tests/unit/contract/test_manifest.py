"""The manifest: its round trip, and each field that makes it invalid."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from pydantic import ValidationError

from recsys import contract
from recsys.contract import (
    PUBLIC_TABLES,
    REQUIRED_ARTIFACTS,
    Build,
    Manifest,
)
from tests.contract_values import (
    OTHER,
    builds,
    law,
    manifest_fields,
)


@law
@given(builds)
def test_a_manifest_survives_a_round_trip(made: Build) -> None:
    manifest = Manifest.model_validate(manifest_fields(made))
    stored = manifest.to_json()
    again = Manifest.from_json(stored)
    assert again == manifest
    assert again.to_json() == stored
    assert again.build.fingerprint == made.fingerprint
    assert again.created_at == datetime(2026, 1, 1, tzinfo=UTC)


def test_an_artifact_is_found_by_its_exact_name() -> None:
    manifest = Manifest.model_validate(manifest_fields())
    found = manifest.artifact("model.keras")
    assert found.key == f"releases/{manifest.release_id}/model.keras"
    with pytest.raises(KeyError):
        manifest.artifact("model")


def extra_artifact(manifest: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    key = contract.release_key(manifest["release_id"], "extra.txt")
    extra = {"name": "extra.txt", "key": key, "sha256": "0" * 64, "size": 0, **changes}
    return [*manifest["artifacts"], extra]


def test_a_manifest_may_list_additional_artifacts() -> None:
    fields = manifest_fields()
    manifest = Manifest.model_validate({**fields, "artifacts": extra_artifact(fields)})
    assert manifest.artifact("extra.txt").size == 0


@pytest.mark.parametrize(
    "name",
    [
        *("manifest.json", "measured_metrics.json", "model.sig"),
        *("provenance.json", "report.html", "trainer.log"),
    ],
)
def test_a_trainer_cannot_name_as_an_artifact_what_the_pipeline_writes(name: str) -> None:
    fields = manifest_fields()
    key = contract.release_key(fields["release_id"], name)
    fields["artifacts"] = extra_artifact(fields, name=name, key=key)
    with pytest.raises(ValidationError, match=f"not artifacts: {name}"):
        Manifest.model_validate(fields)


INVALID_MANIFESTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "release_id: found": lambda m: {"release_id": OTHER.release_id},
    f"fingerprint: found {OTHER.fingerprint}": lambda m: {"fingerprint": OTHER.fingerprint},
    r"fingerprint: found [0-9a-f]{8}0{56}": lambda m: {
        "fingerprint": m["fingerprint"][:8] + "0" * 56
    },
    f"expected {OTHER.release_id} as computed from build": lambda m: {
        "build": OTHER.model_dump(mode="json")
    },
    "an artifact is listed twice": lambda m: {"artifacts": [*m["artifacts"], m["artifacts"][0]]},
    "artifacts missing: golden": lambda m: {
        "artifacts": [a for a in m["artifacts"] if "golden" not in a["name"]]
    },
    f"key of extra.txt: found releases/{OTHER.release_id}/extra.txt": lambda m: {
        "artifacts": extra_artifact(m, key=f"releases/{OTHER.release_id}/extra.txt")
    },
    "key of extra.txt: found .*/model.keras, expected .*/extra.txt": lambda m: {
        "artifacts": extra_artifact(m, key=f"releases/{m['release_id']}/model.keras")
    },
    "not the name of a stored file": lambda m: {
        "artifacts": extra_artifact(m, name="../../x", key=f"releases/{m['release_id']}/../../x")
    },
    r"size\n": lambda m: {"artifacts": extra_artifact(m, size=-1)},
    r"sha256\n": lambda m: {"artifacts": extra_artifact(m, sha256="0" * 63)},
    "manifest_schema": lambda m: {"manifest_schema": 2},
    r"run_nonce\n.*at least 8": lambda m: {"run_nonce": "short"},
    r"run_nonce\n.*at most 64": lambda m: {"run_nonce": "n" * 65},
    r"run_nonce\n.*pattern": lambda m: {"run_nonce": "nonce; rm -rf"},
    r"dims\.towers": lambda m: {"dims": {"movie_vectors": 128, "towers": 0}},
    r"serving\.method": lambda m: {"serving": {**m["serving"], "method": "none"}},
    r"serving\.shift_rmse": lambda m: {"serving": {**m["serving"], "shift_rmse": -0.1}},
    r"serving\.interactions": lambda m: {"serving": {**m["serving"], "interactions": 0}},
    r"unknown\n.*not permitted": lambda m: {"unknown": 1},
}


@pytest.mark.parametrize(("why", "change"), INVALID_MANIFESTS.items(), ids=list(INVALID_MANIFESTS))
def test_an_invalid_manifest_is_rejected_with_the_reason(
    why: str, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    fields = manifest_fields()
    with pytest.raises(ValidationError, match=why):
        Manifest.from_json(json.dumps({**fields, **change(fields)}))


REQUIRED = sorted(name for name, field in Manifest.model_fields.items() if field.is_required())


def test_releases_of_earlier_trainers_need_tensorflow() -> None:
    fields = manifest_fields()
    assert "requires_backend" not in fields
    assert Manifest.from_json(json.dumps(fields)).requires_backend == "tensorflow"


@pytest.mark.parametrize("name", REQUIRED)
def test_a_manifest_without_a_required_field_is_rejected(name: str) -> None:
    fields = manifest_fields()
    del fields[name]
    with pytest.raises(ValidationError, match=f"{name}\n  Field required"):
        Manifest.from_json(json.dumps(fields))


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"null", b"[1]", b"<html>", b"\xff\xfe", b"{" * 10_000]
)
def test_text_that_is_not_a_manifest_is_rejected(text: bytes) -> None:
    with pytest.raises(ValidationError):
        Manifest.from_json(text)


def test_a_manifest_and_its_artifacts_are_immutable() -> None:
    manifest = Manifest.model_validate(manifest_fields())
    for part, name in ((manifest, "run_nonce"), (manifest.artifacts[0], "size")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, name, getattr(part, name))


@pytest.mark.parametrize("table", PUBLIC_TABLES, ids=lambda table: table.name)
def test_towers_come_from_a_required_artifact(
    table: contract.PublicTable,
) -> None:
    assert table.artifact is None or table.artifact in REQUIRED_ARTIFACTS
