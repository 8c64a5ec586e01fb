"""A trainer lies in each field of its manifest and metrics; nothing that is judged changes.

The fields are those of a document, found by walking it. A lie is refused with the candidate, or the
gate rejects it. The few that neither is done to change no rule's value, and are named here.
"""

from __future__ import annotations

import copy
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from recsys import contract
from recsys.contract import (
    GOLDEN_FILE,
    REQUIRED_ARTIFACTS,
    Artifact,
    Build,
    Dims,
    Manifest,
    MeasuredMetrics,
    Metrics,
    ServedScores,
    Serving,
    release_key,
)
from recsys.errors import ArtifactError
from recsys.gate import Decision, GateSettings, JudgedMetrics, judge, judged_metrics
from recsys.releases.bounds import parse_candidate
from tests.metrics_maker import GOOD, as_judged, scored

Path = tuple[str | int, ...]
BUILD: Final = Build(
    dataset_md5="a" * 32, trainer_digest=f"sha256:{'b' * 64}", settings={"trainer": {"seed": 1}}
)
NONCE: Final = "nonce-of-the-run"
TRUTH: Final = Manifest(
    release_id=BUILD.release_id,
    build=BUILD,
    fingerprint=BUILD.fingerprint,
    run_nonce=NONCE,
    artifacts=tuple(
        Artifact(name=name, key=release_key(BUILD.release_id, name), sha256="c" * 64, size=9)
        for name in sorted(REQUIRED_ARTIFACTS)
    ),
    dims=Dims(movie_vectors=contract.MOVIE_VECTOR_DIM, towers=contract.TOWER_DIM),
    serving=Serving(method="refit", interactions=90_000, shift_rmse=0.1),
    metrics=Metrics.model_validate(scored(GOOD)),
    lineage={"seed": 1, "packages": {"keras": "3.12"}, "dataset": {"md5": "a" * 32}},
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)
MEASURED: Final = MeasuredMetrics(
    release_id=TRUTH.release_id,
    manifest_sha256="d" * 64,
    champion="0123abcd-0123abcd",
    interactions=90_000,
    metrics=TRUTH.metrics,
    served=ServedScores(rmse=0.7, mae=0.5, shift_rmse=0.1),
    keras_version="3",
    measured_at=datetime(2026, 1, 1, tzinfo=UTC),
)
CHAMPION: Final = as_judged(GOOD | {"release_id": "0123abcd-0123abcd"})
HARMLESS: Final = {
    ("serving", "method"): "nothing reads it but people",
    # Not stated by this manifest; admission requires them, and `served_*` compare them with tables.
    ("serving", "users"): "not stated",
    ("serving", "movies"): "not stated",
    ("serving", "rmse"): "not stated",
    ("created_at",): "nothing reads it but people",
    ("lineage",): "nothing reads it but people",
    ("metrics", "champion", "release_id"): "the measured comparison is judged",
    ("metrics", "champion"): "the measured comparison is judged",
    ("manifest_schema",): "there is one only",
    # A missing one is read as tensorflow; the verifier loads the model without it if it is any.
    ("requires_backend",): "checked by the verifier",
    # Compared with the bytes, in tests/integration/pipeline/test_candidate_bounds.py.
    ("artifacts", "*", "size"): "compared with the file",
    ("artifacts", "*", "sha256"): "compared with the file",
    # A release of before there was the number has none: it is read as 1.
    ("metrics", "metrics_schema"): "there is one layout only",
    # A null and a missing value are the same statement.
    ("metrics", "baselines", "item_knn"): "null, like the measured one",
}


def judged(manifest: Manifest) -> JudgedMetrics:
    # The copy of a champion would be rejected for another reason.
    tables = {"user_towers": {"digest": "1"}}
    return judged_metrics(manifest, tables, measured=MEASURED)


def examine(document: Any) -> Decision:
    """What the pipeline does with a manifest, except reading the files that it names."""
    data = json.dumps(document).encode()
    manifest = parse_candidate(data, contract.MANIFEST_FILE)
    contract.check_manifest(
        manifest,
        release_id=BUILD.release_id,
        fingerprint=BUILD.fingerprint,
        run_nonce=NONCE,
    )
    return judge(judged(manifest), CHAMPION, GateSettings())


def document() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(TRUTH.to_json())
    return made


def fields(value: Any, path: Path = ()) -> Iterator[Path]:
    """The paths of all objects, lists and values below a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for name, one in inner:
        yield (*path, name)
        if isinstance(one, dict | list):
            yield from fields(one, (*path, name))


def at(value: Any, path: Path) -> Any:
    for name in path:
        value = value[name]
    return value


MISSING: Final = object()


def flattering(value: Any) -> list[Any]:
    """Other values of the same type; of a number, a lower and a higher one: one looks better."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [max(0, value // 2), value * 2 + 1]
    if isinstance(value, float):
        return [value * 0.9, value * 1.1]
    if isinstance(value, str):
        return [value[:-1] + ("0" if value[-1:] != "0" else "1")]
    if isinstance(value, list):
        return [[*value, *value[:1]], value[:-1]]
    if isinstance(value, dict):
        return [{}]
    return [0.001, {"rmse": 0.1, "ndcg@10": 0.5}]


LIES: Final[dict[str, Callable[[Any], list[Any]]]] = {
    "flattering": flattering,
    "huge": lambda value: [1e308, 10**400, "x" * 3_000],
    "missing": lambda value: [MISSING],
    "wrong type": lambda value: [
        other
        for other in (math.nan, math.inf, "0.1", True, [], {}, None, -1)
        if type(other) is not type(value) or other != other
    ],
}


def lie(path: Path, value: Any) -> dict[str, Any]:
    stated = copy.deepcopy(document())
    parent = at(stated, path[:-1])
    if value is MISSING:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return stated


def is_harmless(path: Path) -> bool:
    named = tuple("*" if isinstance(name, int) else name for name in path)
    return named in HARMLESS or named[:1] == ("lineage",)


def test_the_truth_is_accepted() -> None:
    decision = examine(document())
    assert decision.accepted, decision.reason


@pytest.mark.parametrize("kind", LIES)
def test_no_lie_is_promoted(kind: str, record_property: Callable[[str, object], None]) -> None:
    truthful = examine(document())
    outcomes: Counter[str] = Counter()
    for path in fields(document()):
        for value in LIES[kind](at(document(), path)):
            stated = lie(path, value)
            if stated == document():
                continue
            try:
                decision = examine(stated)
            except ArtifactError:
                outcomes["refused"] += 1
                continue
            assert decision.reason
            if not decision.accepted:
                outcomes["rejected"] += 1
                continue
            assert is_harmless(path), (path, str(value)[:80])
            # It gained nothing: every rule has the value that the truth has.
            assert decision.rules == truthful.rules, path
            outcomes["harmless"] += 1
    assert outcomes["refused"] + outcomes["rejected"] > outcomes["harmless"]
    shown = ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items()))
    record_property("figure", f"{kind} lies of a trainer: {shown}")


def test_better_numbers_in_all_places_at_once_are_rejected_with_their_names() -> None:
    stated = document()
    for scores in (stated["metrics"]["model"], stated["metrics"]["champion"]["candidate"]):
        scores["rmse"] *= 0.9
        scores["ndcg@10"] *= 1.2
    decision = examine(stated)
    assert not decision.accepted
    assert "model.rmse is 0.765, measured 0.85" in decision.reason


def test_what_the_trainer_states_is_judged_of_no_candidate() -> None:
    worse = as_judged(GOOD).model_dump(mode="json")
    worse["model"]["rmse"] = 2.0
    measured = MEASURED.model_copy(update={"metrics": Metrics.model_validate(worse)})
    decision = judge(judged_metrics(TRUTH, {}, measured=measured), None, GateSettings())
    [floor] = [rule for rule in decision.rules if rule.name == "rmse_too_good"]
    assert floor.value == 2.0
    assert not decision.accepted


def test_golden_predictions_identify_what_is_served() -> None:
    assert GOLDEN_FILE in (judged(TRUTH).contents or {})
