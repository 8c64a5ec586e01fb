"""Makes a release again from its recorded dataset and settings, and compares every part.

Nothing is changed: features, vectors and models are made in a folder, by the same code as in a run.
On the same kind of machine all files are the same bytes; on another one sums are rounded
differently, and the metrics must agree within `TOLERANCE`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import polars as pl

from recsys import contract, ledger
from recsys.contract import PUBLIC_TABLES, BuildSettings, FeatureSettings, Manifest
from recsys.dataset import open_dataset
from recsys.errors import ArtifactError, ConfigurationError
from recsys.features import download_dataset, make_features, read_stats
from recsys.object_store import ObjectStore, file_sha256
from recsys.pipeline.parts import Difference, compare_files
from recsys.services import Services
from recsys.trainer_process import LocalTrainer
from recsys.vectors import compute_movie_vectors, digest_of_vectors

_MOVIE_VECTORS: Final = next(t for t in PUBLIC_TABLES if t.artifact is None)
TOLERANCE: Final = 1e-4
"""Largest difference of a metric, in its own unit, of a release made on another machine."""
OnStep = Callable[[str], None]


class ReproductionVerdict(StrEnum):
    """Result of a reproduction."""

    IDENTICAL = "identical"
    """All parts are the same bytes, but for times and the comparison with the champion."""
    CLOSE = "close"
    """Some parts differ, and all metrics agree within `TOLERANCE`."""
    DIFFERENT = "different"


@dataclass(frozen=True)
class Part:
    """One part of a release.

    Attributes:
        name: a file.
        difference: from the one that was made again; None if there is no recorded one any more.
    """

    name: str
    difference: Difference | None


@dataclass(frozen=True)
class Reproduction:
    """A release and what was made again.

    Attributes:
        release_id: the release.
        parts: in the order in which they are made.
        environment: what differs in the trainer's environment: name, then, now.
    """

    release_id: str
    parts: tuple[Part, ...]
    environment: tuple[tuple[str, str, str], ...]

    @property
    def verdict(self) -> ReproductionVerdict:
        """What the parts say together."""
        found = {part.name: part.difference for part in self.parts if part.difference is not None}
        if all(difference.is_none for difference in found.values()):
            return ReproductionVerdict.IDENTICAL
        largest = found[contract.METRICS_FILE].largest
        return (
            ReproductionVerdict.CLOSE
            if largest is not None and largest <= TOLERANCE
            else ReproductionVerdict.DIFFERENT
        )


def reproduce_release(
    services: Services,
    release_id: str | None,
    trainer: LocalTrainer,
    work: Path,
    on_step: OnStep = lambda text: None,
    on_line: OnStep = lambda line: None,
    *,
    any_trainer: bool = False,
) -> Reproduction:
    """Makes a release again and compares it with what is stored.

    Args:
        services: PostgreSQL and S3; only read.
        release_id: the release; None for the champion.
        trainer: makes the models.
        work: an empty folder, with room for the dataset and all features and artifacts.
        on_step: called with what is done next.
        on_line: called with each line that the trainer prints.
        any_trainer: whether another trainer than the recorded one may be compared.

    Raises:
        LedgerError: there is no such release, it has no manifest, or there is no champion.
        ConfigurationError: the trainer is another one than the release's.
        ArtifactError: the dataset, or an artifact of the release, is no longer in the store, or is
            damaged.
        TrainingError: the trainer failed.
    """
    with services.connect() as conn:
        release = ledger.get_or_champion(conn, release_id)
        users_erased = ledger.newest_erasure(conn) > 0
    manifest = release.complete_manifest
    build, store = manifest.build, services.store
    found = trainer.digest()
    if found != build.trainer_digest and not any_trainer:
        raise ConfigurationError(
            "this trainer is not the one that made the release",
            found=found,
            expected=build.trainer_digest,
            hint=_which_trainer(manifest),
        )
    on_step("looking for what it is compared with")
    _check_stored(store, manifest)
    settings = BuildSettings.model_validate(build.settings)
    raw = store.head(contract.dataset_key(build.dataset_md5, contract.DATASET_FILE))
    if settings.features.erased or (users_erased and raw is None):
        on_step("reading the features; their dataset was deleted, because users were erased")
        features = _stored_features(store, build.features_prefix, work)
        parts = []
    else:
        on_step("reading the dataset and making its features")
        features = _make_features(store, build.dataset_md5, settings.features, work)
        parts = [*_compare_features(store, build.features_prefix, features, work)]
    on_step("computing the movie vectors")
    recorded = (release.tables.get(_MOVIE_VECTORS.name) or {}).get("digest")
    parts.append(Part(_MOVIE_VECTORS.name, _compare_vectors(features, settings.features, recorded)))
    on_step("training")
    config, out = work / "settings.json", work / "out"
    config.write_text(json.dumps(settings.trainer.overrides))
    arguments = ["local", "--features", str(features), "--out", str(out)]
    arguments += ["--seed", str(settings.trainer.seed), "--config", str(config)]
    trainer.run_command(arguments, on_line=on_line)
    on_step("comparing")
    parts += _compare_artifacts(store, manifest, out, work)
    lineage = json.loads((out / contract.LINEAGE_FILE).read_text())
    return Reproduction(
        release.release_id, tuple(parts), tuple(_environment(manifest.lineage, lineage))
    )


def _which_trainer(manifest: Manifest) -> str:
    revision = manifest.lineage.get("code_revision")
    return (
        (f"check out revision {revision}" if revision else "check out the code of that time")
        + ", run `make setup`, and reproduce from there; a digest of an image is never that of a "
        "clone's trainer: --any-trainer compares nevertheless"
    )


def _check_stored(store: ObjectStore, manifest: Manifest) -> None:
    """Raises ArtifactError if an artifact is gone or damaged, before hours of training."""
    wrong = [each.key for each in manifest.artifacts if not store.holds(each.key, each.sha256)]
    if wrong:
        raise ArtifactError(
            "there is nothing to compare with: artifacts of this release are missing or damaged",
            found=", ".join(wrong),
            hint="`recsys verify` says what changed; reproduce another release",
        )


def _make_features(store: ObjectStore, md5: str, settings: FeatureSettings, work: Path) -> Path:
    features = work / "features"
    features.mkdir()
    path = work / contract.DATASET_FILE
    try:
        download_dataset(md5, store, path)
    except ArtifactError as error:
        error.hint = (
            "retention deletes the datasets of old releases: put the same zip back with "
            "`recsys run --source`, its md5 is the release's"
        )
        raise
    with open_dataset(path, columns=settings.columns) as archive:
        make_features(archive, md5, settings, features)
    path.unlink()
    return features


def _stored_features(store: ObjectStore, prefix: str, work: Path) -> Path:
    """Downloads the features that a release was made from: nothing raw is kept after an erasure."""
    stats = read_stats(prefix, store)
    if stats is None:
        raise ArtifactError(
            "the features of this release are missing",
            expected=contract.features_key(prefix, contract.STATS_FILE),
            hint="reproduce a newer release",
        )
    features = work / "features"
    features.mkdir()
    for name, sha256 in stats.sha256.items():
        store.download(contract.features_key(prefix, name), features / name, sha256)
    return features


def _compare_features(
    store: ObjectStore, prefix: str, features: Path, work: Path
) -> Iterator[Part]:
    """Compares the three tables with those that the store has, if it still has them."""
    stats = read_stats(prefix, store)
    for name in (contract.INTERACTIONS_FILE, contract.MOVIES_FILE, contract.QUARANTINE_FILE):
        key = contract.features_key(prefix, name)
        digest = stats.sha256[name] if stats else None
        yield Part(name, _compare(store, key, digest, features / name, work) if digest else None)


def _compare_vectors(
    features: Path, settings: FeatureSettings, recorded: str | None
) -> Difference | None:
    """Compares the movie vectors with the digest of the loaded table, which has half precision."""
    made = compute_movie_vectors(
        pl.scan_parquet(features / contract.INTERACTIONS_FILE).select(
            "userId", "movieId", "rating", "timestamp"
        ),
        pl.read_parquet(features / contract.MOVIES_FILE),
        dim=settings.vector_dim,
    )
    table = _MOVIE_VECTORS.with_ids(settings.id_bits)
    digest = digest_of_vectors(table, made.ids, made.vectors)
    if recorded is None:
        return None
    if digest == recorded:
        return Difference(largest=0.0, detail=f"sha256 {digest}")
    return Difference(largest=None, detail="other vectors")


def _compare_artifacts(
    store: ObjectStore, manifest: Manifest, out: Path, work: Path
) -> Iterator[Part]:
    for artifact in manifest.artifacts:
        made = out / artifact.name
        found = _compare(store, artifact.key, artifact.sha256, made, work)
        yield Part(artifact.name, found)


def _compare(store: ObjectStore, key: str, sha256: str, made: Path, work: Path) -> Difference:
    if not made.is_file():
        return Difference(largest=None, detail="was not made again")
    if file_sha256(made) == sha256:
        return Difference(largest=0.0, detail=f"sha256 {sha256}")
    recorded = work / "recorded"
    store.download(key, recorded, sha256)
    return compare_files(recorded, made)


def _environment(then: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name in ("python", "hardware", "code_revision"):
        if then.get(name) != now.get(name):
            yield name, str(then.get(name)), str(now.get(name))
    before, after = (dict(lineage.get("packages") or {}) for lineage in (then, now))
    for name in sorted(before | after):
        if before.get(name) != after.get(name):
            yield name, str(before.get(name, "absent")), str(after.get(name, "absent"))
