"""The chain of a release, from its dataset to the names that sites read, and whether it holds.

Nothing is changed, and nothing stops at the first fault: the result names everything that differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from recsys import contract, ledger, vectors
from recsys.contract import (
    LIVE_SCHEMA,
    MANIFEST_FILE,
    PROVENANCE_FILE,
    PUBLIC_MODEL_KEY,
    PUBLIC_TABLES,
    Manifest,
    table_name,
)
from recsys.database import Connection
from recsys.errors import ArtifactError, LedgerError, VectorError
from recsys.ledger import Release, State
from recsys.object_store import ObjectStore
from recsys.releases.public_copies import model_is_of
from recsys.releases.public_names import expected_views, views_of
from recsys.releases.signature import (
    NOT_SIGNED,
    SignedRelease,
    ledger_faults,
    read_provenance,
    read_signature,
)
from recsys.releases.verification import parse_manifest
from recsys.services import Services
from recsys.signing import Provenance, PublicKey


class StepResult(StrEnum):
    """Result of one step of the chain."""

    OK = "ok"
    CHANGED = "changed"
    UNPROVEN = "unproven"
    """Not signed, or nothing to verify it with."""
    ABSENT = "absent"
    """Not there any more, which is no fault: retention deletes datasets."""


class Verdict(StrEnum):
    """Result of the whole chain."""

    PROVEN = "proven"
    CHANGED = "changed"
    UNPROVEN = "unproven"


@dataclass(frozen=True)
class ProofStep:
    """One step of the chain.

    Attributes:
        name: a file, a table, or another part.
        result: what was found.
        detail: digest, key or fault, for people.
    """

    name: str
    result: StepResult
    detail: str


@dataclass(frozen=True)
class Proof:
    """The chain of a release, in the order from dataset to served names."""

    release_id: str
    steps: tuple[ProofStep, ...]

    @property
    def verdict(self) -> Verdict:
        """Changed if one step is; else proven if the signature is valid."""
        results = {step.result for step in self.steps}
        if StepResult.CHANGED in results:
            return Verdict.CHANGED
        return Verdict.UNPROVEN if StepResult.UNPROVEN in results else Verdict.PROVEN


def prove_release(
    services: Services, release_id: str | None = None, keys: Sequence[PublicKey] | None = None
) -> Proof:
    """Compares every part of a release with what was signed.

    Args:
        services: the servers.
        release_id: the release; by default the champion.
        keys: the trusted keys; by default those of the services.

    Raises:
        LedgerError: the release is unknown, not complete or retired, or there is no champion.
    """
    trusted = services.trusted_keys if keys is None else keys
    with services.connect() as conn:
        ledger.check_current(conn)
        release = ledger.get_or_champion(conn, release_id)
        if release.manifest is None or release.state in (State.RETIRING, State.RETIRED):
            raise LedgerError(
                f"there is nothing to verify of release {release.release_id}",
                found=f"state {release.state}",
                expected="a complete release that is retained",
                hint="`recsys releases` lists them",
            )
        return Proof(release.release_id, tuple(_steps(conn, services.store, release, trusted)))


def _steps(
    conn: Connection, store: ObjectStore, release: Release, keys: Sequence[PublicKey]
) -> Iterator[ProofStep]:
    signature, signed = _signature(store, release, keys)
    files = list(_files(store, release, signed.files if signed else _unsigned_files(release)))
    if signed:
        files += _added_files(store, release, signed)
    intact = {step.name for step in files if step.result is StepResult.OK}
    prefix = contract.release_prefix(release.release_id)
    provenance = None
    if signed and prefix + PROVENANCE_FILE in intact:
        provenance = read_provenance(store, release.release_id)
    yield from _origin(store, release, provenance)
    yield signature
    yield from files
    if signed and provenance and prefix + MANIFEST_FILE in intact:
        yield from _row(store, release, signed, provenance)
    yield from _tables(conn, release)
    yield _decision(conn, release)
    yield from _served(conn, store, release)


def _signature(
    store: ObjectStore, release: Release, keys: Sequence[PublicKey]
) -> tuple[ProofStep, SignedRelease | None]:
    name = contract.release_key(release.release_id, contract.SIGNATURE_FILE)
    is_there = store.head(name) is not None
    if not is_there or not keys:
        detail = "no public key is configured" if is_there else "the release is not signed"
        return ProofStep(name, StepResult.UNPROVEN, detail), None
    try:
        signed = read_signature(store, release.release_id, keys)
    except ArtifactError as error:
        return ProofStep(name, StepResult.CHANGED, str(error)), None
    detail = f"key {signed.key.fingerprint} ({signed.key.source})"
    return ProofStep(name, StepResult.OK, detail), signed


def _unsigned_files(release: Release) -> dict[str, str]:
    """Returns the files that the ledger names; none if its row is damaged."""
    try:
        manifest = release.complete_manifest
    except ArtifactError:
        return {}
    files = {artifact.name: artifact.sha256 for artifact in manifest.artifacts}
    return {MANIFEST_FILE: str(release.manifest_sha256), **files}


def _files(
    store: ObjectStore, release: Release, expected: Mapping[str, str]
) -> Iterator[ProofStep]:
    for name in sorted(expected):
        key = contract.release_key(release.release_id, name)
        found = store.find_content(key)
        if found is not None and found.sha256 == expected[name]:
            yield ProofStep(key, StepResult.OK, f"sha256 {found.sha256}")
        else:
            what = f"sha256 {found.sha256}" if found else "no such file"
            yield ProofStep(
                key, StepResult.CHANGED, f"found {what}, expected sha256 {expected[name]}"
            )


def _added_files(
    store: ObjectStore, release: Release, signed: SignedRelease
) -> Iterator[ProofStep]:
    prefix = contract.release_prefix(release.release_id)
    for key in sorted(store.keys(prefix)):
        if key.removeprefix(prefix) not in NOT_SIGNED | signed.files.keys():
            yield ProofStep(key, StepResult.CHANGED, "this file was added: it is not signed")


def _origin(
    store: ObjectStore, release: Release, provenance: Provenance | None
) -> Iterator[ProofStep]:
    """Yields dataset, features and trainer, as the signed provenance names them."""
    if provenance is None:
        yield ProofStep(
            f"dataset {release.dataset_md5}",
            StepResult.UNPROVEN,
            f"as the ledger says; made with trainer {release.trainer_digest}",
        )
        return
    for name, digest in provenance.dependencies.items():
        if name == "trainer":
            yield ProofStep(name, StepResult.OK, f"image or sources with sha256 {digest['sha256']}")
            continue
        found = store.find_content(name)
        if found is None:
            yield ProofStep(name, StepResult.ABSENT, f"deleted; it had sha256 {digest['sha256']}")
        elif found.sha256 == digest["sha256"]:
            yield ProofStep(name, StepResult.OK, f"sha256 {found.sha256}")
        else:
            yield ProofStep(
                name,
                StepResult.CHANGED,
                f"found sha256 {found.sha256}, expected sha256 {digest['sha256']}",
            )


def _row(
    store: ObjectStore, release: Release, signed: SignedRelease, provenance: Provenance
) -> Iterator[ProofStep]:
    key = contract.release_key(release.release_id, MANIFEST_FILE)
    manifest: Manifest = parse_manifest(store.get_bytes(key), key)
    faults = list(ledger_faults(release, manifest, signed.files[MANIFEST_FILE], provenance))
    for fault in faults:
        yield ProofStep("recsys.releases", StepResult.CHANGED, fault)
    if not faults:
        yield ProofStep("recsys.releases", StepResult.OK, "the row is what was signed")


def _tables(conn: Connection, release: Release) -> Iterator[ProofStep]:
    stored = vectors.stored_tables(conn, [release.release_id])
    for table in PUBLIC_TABLES:
        name = f"recsys.{table_name(table.name, release.release_id)}"
        facts = release.tables.get(table.name) or {}
        digest, rows = facts.get("digest"), facts.get("rows")
        is_whole = (
            table_name(table.name, release.release_id) in stored
            and isinstance(digest, str)
            and isinstance(rows, int)
            and vectors.content_is_as_loaded(
                conn, table, release.release_id, digest=digest, rows=rows
            )
        )
        yield ProofStep(
            name,
            StepResult.OK if is_whole else StepResult.CHANGED,
            f"{rows} rows, digest {digest}" if is_whole else "other content than was loaded",
        )


def _decision(conn: Connection, release: Release) -> ProofStep:
    decided = ledger.last_decision(conn, release.release_id)
    detail = decided[0].reason if decided else "the gate has not judged it yet"
    return ProofStep("the gate's decision", StepResult.OK, detail)


def _served(conn: Connection, store: ObjectStore, release: Release) -> Iterator[ProofStep]:
    if release.state is not State.CHAMPION:
        yield ProofStep("served names", StepResult.OK, f"not served: it is {release.state}")
        return
    try:
        model_is_right = model_is_of(store, release)
    except (ArtifactError, KeyError):
        model_is_right = False
    yield _name(PUBLIC_MODEL_KEY, model_is_right)
    views, right = views_of(conn, LIVE_SCHEMA), expected_views(release.release_id)
    for name, table in right.items():
        yield _name(f"{LIVE_SCHEMA}.{name}", views.get(name) == table)
    try:
        row_is_right = ledger.current_release_is_right(conn, release)
    except (ArtifactError, VectorError):
        row_is_right = False
    yield _name("recsys.current_release", row_is_right)


def _name(name: str, is_right: bool) -> ProofStep:
    if is_right:
        return ProofStep(name, StepResult.OK, "it is this release's")
    return ProofStep(name, StepResult.CHANGED, "not this release's; run `recsys recover`")
