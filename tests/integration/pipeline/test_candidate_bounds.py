"""Files of a candidate that are too large, too deep, or not what it says are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from recsys import ledger
from recsys.contract import (
    CANDIDATE_ARTIFACTS,
    GOLDEN_FILE,
    HISTORY_FILE,
    MANIFEST_FILE,
    MEASURED_FILE,
    METRICS_FILE,
    inbox_key,
    release_key,
    seal,
    seal_key,
)
from recsys.errors import ArtifactError
from recsys.gate import GateSettings
from recsys.pipeline import begin_training, check_candidate, gate_candidate
from recsys.releases import accept_measurement, read_measurement
from recsys.releases.bounds import MAX_BYTES
from tests.integration.pipeline.test_hostile_model import ReleasesWithZips
from tests.integration.pipeline.test_inbox import manifest_of, train

Document = dict[str, Any]


def deep(levels: int) -> bytes:
    return b'{"a":' + b"[" * levels + b"]" * levels + b"}"


@pytest.fixture
def maker(services) -> ReleasesWithZips:
    made = ReleasesWithZips(services)
    made.ARTIFACTS = CANDIDATE_ARTIFACTS
    return made


def changed(change: Callable[[Document], object]) -> Callable[[bytes], bytes]:
    def apply(data: bytes) -> bytes:
        document = json.loads(data)
        change(document)
        return json.dumps(document).encode()

    return apply


def lineage(value: object) -> Callable[[bytes], bytes]:
    return changed(lambda document: document["lineage"].update(note=value))


def of_artifacts(field: str, value: object) -> Callable[[bytes], bytes]:
    """Lies about each file at once; which is found first does not matter."""
    return changed(lambda document: [a.update({field: value}) for a in document["artifacts"]])


MANIFESTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "of 3 MB": (lambda data: data + b" " * (3 << 20), "too large"),
    "nested a million deep": (lambda data: deep(1_000_000), "nested too deeply"),
    "nested 40 deep": (lambda data: deep(40), "nested too deeply"),
    "with an escape for the terminal": (lineage("\x1b[2J\x1b]0;owned\x07"), "printable"),
    "with a very long text": (lineage("x" * 3000), "at most 2000 characters"),
    "with very many values": (lineage([0] * 100_001), "more than 100000 values"),
    "with an integer of 100 digits": (lineage(10**100), "very large integer"),
    "with numbers in quotes": (changed(lambda d: d["dims"].update(towers="64")), "not a valid"),
    "with another dimension": (changed(lambda d: d["dims"].update(towers=3)), "dimension"),
    "of files of 1 TB": (of_artifacts("size", 1 << 40), "too large"),
    "of files of a byte more": (of_artifacts("size", 12345), "not the file that the manifest"),
    "of files with another sha256": (of_artifacts("sha256", "0" * 64), "differs from its manifest"),
    "that is a list": (lambda data: b"[]", "expected: a JSON object"),
    "that is no text": (lambda data: b"\xff" + data, "JSON in UTF-8"),
}


def test_a_manifest_out_of_bounds_is_refused_and_trained_again(maker, services) -> None:
    run = train(maker, 1)
    key = inbox_key(run.release_id, run.run_nonce, MANIFEST_FILE)
    good = services.store.get_bytes(key)
    for name, (lie, reason) in MANIFESTS.items():
        services.store.put_bytes(key, lie(good))
        with pytest.raises(ArtifactError) as refused:
            check_candidate(services, run)
        assert reason in str(refused.value), name
        assert len(str(refused.value)) < 1000, name
        assert str(refused.value).isprintable(), name
        assert manifest_of(maker, run) is None, name
    assert begin_training(services, run) is not None
    services.store.put_bytes(key, good)
    assert check_candidate(services, run).release_id == run.release_id


class Documents(ReleasesWithZips):
    """Their files are these, and the manifest states the truth about size and sha256."""

    files: dict[str, bytes]

    def artifact_bytes(self, name: str, number: int) -> bytes:
        return self.files.get(name) or super().artifact_bytes(name, number)


GOLDEN = {"user_ids": [1], "movie_ids": [1], "stars": [3.0], "keras_version": "3"}
FILES: dict[str, tuple[str, bytes, str]] = {
    "golden predictions of 20000 rows": (
        GOLDEN_FILE,
        json.dumps(
            {k: v * 20_000 if isinstance(v, list) else v for k, v in GOLDEN.items()}
        ).encode(),
        "too many golden predictions",
    ),
    "golden predictions of 2 MB": (
        GOLDEN_FILE,
        json.dumps(GOLDEN).encode() + b" " * MAX_BYTES[GOLDEN_FILE],
        "too large",
    ),
    "golden predictions that are none": (GOLDEN_FILE, b'{"stars": []}', "malformed"),
    "a deep history": (HISTORY_FILE, deep(100_000), "nested too deeply"),
    "other metrics than the manifest's": (
        METRICS_FILE,
        b'{"metrics_schema": 1, "model": {"rmse": 0.1}}',
        "contradicts the manifest",
    ),
    "metrics of 3 MB": (METRICS_FILE, b"{}" + b" " * (3 << 20), "too large"),
}


def test_documents_out_of_bounds_are_refused(services) -> None:
    for number, (name, content, reason) in enumerate(FILES.values(), 1):
        maker = Documents(services)
        maker.files = {name: content}
        maker.ARTIFACTS = CANDIDATE_ARTIFACTS
        run = train(maker, number)
        with pytest.raises(ArtifactError, match=reason):
            check_candidate(services, run)
        assert manifest_of(maker, run) is None


def test_only_a_measurement_that_the_verifier_sealed_is_judged(maker, services) -> None:
    run = train(maker, 1)
    verifier_input = check_candidate(services, run)
    key = verifier_input.seal
    assert key is not None
    assert check_candidate(services, run).seal == key, "a retry has the same"
    release_id, store = run.release_id, services.store
    manifest = manifest_of(maker, run)
    assert manifest is not None
    sha256 = store.sha256(release_key(release_id, MANIFEST_FILE))
    inbox = verifier_input.inbox_key(MEASURED_FILE)
    measured = maker.measured(manifest, sha256)
    of_others = maker.measured(manifest, "0" * 64)
    for data, reason in (
        (None, "was not measured"),
        (measured.to_json(), "seal is wrong"),
        (seal(measured.to_json(), "00" * 32), "seal is wrong"),
        (b"x" * (MAX_BYTES[MEASURED_FILE] + 1), "too large"),
        (seal(of_others.to_json(), key), "of another manifest"),
        (seal(b"{}", key), "cannot be read"),
    ):
        if data is not None:
            store.put_bytes(inbox, data)
        with pytest.raises(ArtifactError, match=reason):
            gate_candidate(services, run, GateSettings())
    store.put_bytes(inbox, seal(measured.to_json(), key))
    check_candidate(services, run)
    assert store.find_bytes(inbox) is not None, "what an earlier try measured stays"
    # As `gate_candidate` does, which goes on to the tables.
    with services.connect() as conn:
        release = ledger.get(conn, release_id)
    for _ in range(2):
        accept_measurement(store, release, sha256)
        assert read_measurement(store, release_id, sha256) == measured, "also of a retry"
    assert store.find_bytes(inbox) is None
    assert store.find_bytes(seal_key(release_id)) is None
