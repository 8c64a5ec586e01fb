"""Provenance of a release: an in-toto statement with the predicate SLSA provenance, version 1."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from recsys.errors import ArtifactError
from recsys.signing.statement import STATEMENT_TYPE

_PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "urn:recsys:build:v1"
"""Names the meaning of the parameters; docs/proving-a-release.md defines it."""


@dataclass(frozen=True)
class Resource:
    """Something that a release was made from, or a part of it.

    Attributes:
        name: its name.
        digest: by algorithm, in hex digits.
        uri: where it is; empty if it has no address.
        annotations: further facts.
    """

    name: str
    digest: Mapping[str, str]
    uri: str = ""
    annotations: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Returns it as in-toto's ResourceDescriptor."""
        found: dict[str, Any] = {"name": self.name, "digest": dict(self.digest)}
        if self.uri:
            found["uri"] = self.uri
        if self.annotations:
            found["annotations"] = dict(self.annotations)
        return found


def make_provenance(
    *,
    subjects: Sequence[Resource],
    dependencies: Sequence[Resource],
    external: Mapping[str, Any],
    internal: Mapping[str, Any],
    builder: str,
    versions: Mapping[str, str],
    invocation: str,
    started: datetime,
    finished: datetime,
) -> bytes:
    """Returns the provenance as JSON.

    Args:
        subjects: the files and tables of the release.
        dependencies: dataset, features, trainer.
        external: the parameters that a person controls.
        internal: those that the pipeline and the trainer chose.
        builder: URI of the installation.
        versions: of the pipeline's software.
        invocation: id of the run.
        started: when the build began.
        finished: when the trainer wrote its manifest.
    """
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [each.document() for each in subjects],
        "predicateType": _PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": dict(external),
                "internalParameters": dict(internal),
                "resolvedDependencies": [each.document() for each in dependencies],
            },
            "runDetails": {
                "builder": {"id": builder, "version": dict(versions)},
                "metadata": {
                    "invocationId": invocation,
                    "startedOn": started.isoformat(),
                    "finishedOn": finished.isoformat(),
                },
            },
        },
    }
    return json.dumps(statement, indent=2).encode()


@dataclass(frozen=True)
class Provenance:
    """The parts of a provenance that can be compared: digests by name."""

    subjects: Mapping[str, Mapping[str, str]]
    dependencies: Mapping[str, Mapping[str, str]]
    statement: Mapping[str, Any]


def parse_provenance(data: bytes, name: str) -> Provenance:
    """Reads a stored provenance; raises ArtifactError if it is not one."""
    try:
        statement = json.loads(data)
        definition = statement["predicate"]["buildDefinition"]
        subjects, dependencies = (
            {str(each["name"]): dict(each["digest"]) for each in listed}
            for listed in (statement["subject"], definition["resolvedDependencies"])
        )
        if statement["predicateType"] != _PREDICATE_TYPE:
            raise ValueError("another predicate")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ArtifactError(
            f"{name} is not a provenance",
            expected=f"an in-toto statement with the predicate {_PREDICATE_TYPE}",
            hint="restore it from a backup",
        ) from None
    return Provenance(subjects, dependencies, statement)
