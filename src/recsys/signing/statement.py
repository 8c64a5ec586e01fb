"""The statement of OpenSSF model signing: the files of a release and their sha256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from recsys.errors import ArtifactError

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
_DIGEST_LENGTH: Final = 64


@dataclass(frozen=True)
class SignedFiles:
    """The content of a statement.

    Attributes:
        release_id: the release that was signed.
        sha256: by the name of each file, 64 hex digits.
    """

    release_id: str
    sha256: Mapping[str, str]


def make_statement(release_id: str, sha256: Mapping[str, str], ignored: Iterable[str]) -> bytes:
    """Returns the statement about the files of a release, as JSON.

    Args:
        release_id: the release.
        sha256: by the name of each file.
        ignored: files of the same folder that are not signed, such as the signature.
    """
    names = sorted(sha256, key=PurePosixPath)
    resources = [{"name": n, "algorithm": "sha256", "digest": sha256[n]} for n in names]
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": release_id, "digest": {"sha256": _root(resources)}}],
        "predicateType": _PREDICATE_TYPE,
        "predicate": {
            "resources": resources,
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": sorted(ignored),
            },
        },
    }
    return json.dumps(statement, indent=2).encode()


def parse_statement(payload: bytes, name: str) -> SignedFiles:
    """Reads a statement whose signature is valid.

    Args:
        payload: its bytes.
        name: of the signature, for errors.

    Raises:
        ArtifactError: the key has signed something else than files.
    """
    try:
        statement = json.loads(payload)
        [subject], predicate = statement["subject"], statement["predicate"]
        resources = predicate["resources"]
        files = {str(each["name"]): str(each["digest"]) for each in resources}
        is_of_files = (
            statement["_type"] == STATEMENT_TYPE
            and statement["predicateType"] == _PREDICATE_TYPE
            and predicate["serialization"]["method"] == "files"
            and len(files) == len(resources)
            and all(each["algorithm"] == "sha256" for each in resources)
            and all(len(digest) == _DIGEST_LENGTH for digest in files.values())
            and subject["digest"]["sha256"] == _root(resources)
        )
        release_id = str(subject["name"])
    except (ValueError, KeyError, TypeError, RecursionError):
        is_of_files = False
    if not is_of_files:
        raise ArtifactError(
            f"{name} signs something else than the files of a release",
            expected=f"a statement of type {_PREDICATE_TYPE}",
            hint="sign the release again with `recsys sign`",
        )
    return SignedFiles(release_id, files)


def _root(resources: Iterable[Mapping[str, Any]]) -> str:
    """Returns the sha256 of all digests in their order, which names the release as a whole."""
    root = hashlib.sha256()
    for resource in resources:
        root.update(bytes.fromhex(resource["digest"]))
    return root.hexdigest()
