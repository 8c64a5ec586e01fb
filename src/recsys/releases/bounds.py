"""Bounds on the files of a candidate, checked before anything reads them.

A trainer wrote them: a small file may unpack to gigabytes, a document may be nested a million deep.
The limits leave a factor of ten or more over what this trainer writes. What a parquet file unpacks
to is checked by the verifier, in a process with a memory limit of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from recsys import contract
from recsys.contract import Dims, GoldenPredictions, Manifest, Metrics
from recsys.errors import ArtifactError, first_invalid_field
from recsys.object_store import ObjectStore
from recsys.releases.verification import parse_manifest

_MIB: Final = 1 << 20
MAX_BYTES: Final[Mapping[str, int]] = {
    contract.MANIFEST_FILE: 2 * _MIB,
    contract.METRICS_FILE: 2 * _MIB,
    contract.MEASURED_FILE: 2 * _MIB,
    contract.HISTORY_FILE: 4 * _MIB,
    contract.GOLDEN_FILE: _MIB,
    contract.GOLDEN_RECOMMENDATIONS_FILE: 4 * _MIB,
    contract.TRAINER_LOG_FILE: 16 * _MIB,
    # Each file in it: some bytes for each newer rating of the sampled users.
    contract.FORWARD_FOLDER: 256 * _MIB,
    contract.MODEL_FILE: 16 << 30,
    contract.EVALUATED_MODEL_FILE: 16 << 30,
    contract.HOLDOUT_PREDICTIONS_FILE: 2 << 30,
    contract.HOLDOUT_RECOMMENDATIONS_FILE: 4 << 30,
    contract.USER_TOWERS_FILE: 8 << 30,
    contract.MOVIE_TOWERS_FILE: 2 << 30,
    contract.EVALUATED_USER_TOWERS_FILE: 8 << 30,
    contract.EVALUATED_MOVIE_TOWERS_FILE: 2 << 30,
}
"""Largest size of each file that this project gives a meaning."""
_MAX_OTHER: Final = 64 * _MIB
_MAX_ARTIFACTS: Final = 64
MAX_GOLDEN: Final = 10_000
_MAX_DEPTH: Final = 16
_MAX_VALUES: Final = 100_000
_MAX_TEXT: Final = 2_000
_MAX_DIGITS: Final = 40


def read_bounded(store: ObjectStore, key: str, name: str) -> bytes | None:
    """Reads an object that may not be larger than `MAX_BYTES` allows; None if there is none.

    Args:
        store: the object store.
        key: of the object.
        name: of the file in `MAX_BYTES`.

    Raises:
        ArtifactError: it is larger.
    """
    limit, data = MAX_BYTES[name], bytearray()
    try:
        for chunk in store.chunks(key):
            data += chunk
            if len(data) > limit:
                break
    except ArtifactError:  # there is none
        return None
    if len(data) > limit:
        raise ArtifactError(f"{key} is too large", expected=f"at most {limit} bytes")
    return bytes(data)


def parse_candidate(document: bytes, key: str) -> Manifest:
    """Reads the manifest of a new candidate, within the bounds on documents and files.

    Args:
        document: the manifest's bytes.
        key: where it is stored, for errors.

    Raises:
        ArtifactError: it is not a manifest, or states what no candidate can have.
    """
    check_json(document, contract.MANIFEST_FILE)
    manifest = parse_manifest(document, key, strict=True)
    check_statements(manifest)
    return manifest


def check_statements(manifest: Manifest) -> None:
    """Checks what a manifest says of its files and vectors before anything is copied.

    Raises:
        ArtifactError: there are too many files, a too large one, or vectors of another dimension.
    """
    dims = Dims(movie_vectors=contract.MOVIE_VECTOR_DIM, towers=contract.TOWER_DIM)
    if manifest.dims != dims:
        raise ArtifactError(
            "the vectors have another dimension than the public tables",
            found=manifest.dims.model_dump(),
            expected=dims.model_dump(),
        )
    if len(manifest.artifacts) > _MAX_ARTIFACTS:
        raise ArtifactError(
            "the manifest names too many files",
            found=len(manifest.artifacts),
            expected=f"at most {_MAX_ARTIFACTS}",
        )
    for artifact in manifest.artifacts:
        limit = MAX_BYTES.get(artifact.name, _MAX_OTHER)
        if artifact.size > limit:
            raise ArtifactError(
                f"{artifact.name} is too large",
                found=f"{artifact.size} bytes",
                expected=f"at most {limit} bytes",
                hint="write less to it; the limits are in recsys.releases.bounds",
            )


def check_documents(store: ObjectStore, manifest: Manifest) -> None:
    """Checks the JSON files of a candidate, of which the copies are read.

    Raises:
        ArtifactError: one is not what its readers expect, or contradicts the manifest.
    """
    found = {
        name: read_bounded(store, manifest.artifact(name).key, name) or b""
        for name in (contract.METRICS_FILE, contract.HISTORY_FILE, contract.GOLDEN_FILE)
    }
    for name, data in found.items():
        check_json(data, name)
    # People and `recsys compare` read this file, the gate's report reads the manifest.
    if Metrics.from_json(found[contract.METRICS_FILE]) != manifest.metrics:
        raise ArtifactError(
            f"{contract.METRICS_FILE} contradicts the manifest",
            expected="the metrics of the manifest",
            hint="the trainer must write the same metrics to both",
        )
    try:
        golden = GoldenPredictions.model_validate_json(found[contract.GOLDEN_FILE])
    except ValidationError as error:
        raise ArtifactError(
            "the golden predictions are malformed", found=str(first_invalid_field(error))
        ) from error
    if len(golden.stars) > MAX_GOLDEN:
        raise ArtifactError(
            "there are too many golden predictions",
            found=len(golden.stars),
            expected=f"at most {MAX_GOLDEN}",
        )


def check_json(data: bytes, name: str) -> None:
    """Checks depth, size and texts of a JSON document, so that people may be shown all of it.

    Args:
        data: the document.
        name: of its file, for errors.

    Raises:
        ArtifactError: it is not an object, is nested too deeply, has too many values, or a text in
            it is too long or has characters that are not printable.
    """
    try:
        document = json.loads(data)
    except RecursionError as error:
        raise _refused(name, "nested too deeply", f"at most {_MAX_DEPTH} levels") from error
    # UnicodeDecodeError and JSONDecodeError are ValueErrors, as is an integer of 4300 digits.
    except ValueError as error:
        raise _refused(name, f"{type(error).__name__}: {error}", "JSON in UTF-8") from error
    if not isinstance(document, dict):
        raise _refused(name, f"a {type(document).__name__}", "a JSON object")
    level: list[Any] = [document]
    values = 0
    for _ in range(_MAX_DEPTH):
        values += len(level)
        if values > _MAX_VALUES:
            raise _refused(name, f"more than {_MAX_VALUES} values", f"at most {_MAX_VALUES}")
        for value in level:
            _check_value(value, name)
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in ([*value, *value.values()] if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise _refused(name, "nested too deeply", f"at most {_MAX_DEPTH} levels")


def _check_value(value: Any, name: str) -> None:
    if isinstance(value, str):
        if len(value) > _MAX_TEXT:
            raise _refused(
                name, f"a text of {len(value)} characters", f"at most {_MAX_TEXT} characters"
            )
        if not value.isprintable():
            raise _refused(name, value, "printable characters")
    elif isinstance(value, int) and abs(value) >= 10**_MAX_DIGITS:
        raise _refused(name, "a very large integer", f"at most {_MAX_DIGITS} digits")


def _refused(name: str, found: object, expected: str) -> ArtifactError:
    return ArtifactError(
        f"{name} of the candidate is refused",
        found=found,
        expected=expected,
        hint="the trainer's image must write what trainer/export.py writes",
    )
