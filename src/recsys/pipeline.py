"""The steps of one run, each a plain function that a task calls and a test calls without Airflow.

Every step can be repeated at any time with the same result: it looks first whether its work is
there already. A release that is complete never changes; a forced run judges it again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from recsys import (
    contract,
    dataset,
    drift,
    interactions,
    ledger,
    ledger_records,
    release_diff,
    stored_vectors,
    vector_quality,
    vector_store,
    verification,
)
from recsys.contract import Build, PublicTable, TrainerInput
from recsys.errors import ArtifactError
from recsys.gate import Decision, judge, judged_metrics
from recsys.ledger import State
from recsys.scratch import scratch_folder
from recsys.services import Services
from recsys.settings import BuildSettings, DriftSettings, FeatureSettings, GateSettings
from recsys.training import LocalTrainer

log = logging.getLogger(__name__)

_MOVIE_VECTORS: Final = next(t for t in contract.PUBLIC_TABLES if t.artifact is None)
_TOWERS: Final = tuple(t for t in contract.PUBLIC_TABLES if t.artifact is not None)

# What the ledger says of a build that is not to be tried again by itself.
_JUDGED: Final = {
    State.CHAMPION: "this build is the champion",
    State.SUPERSEDED: "this build was champion before; `recsys rollback` brings it back",
    State.ROLLED_BACK: "this build was rolled back",
    State.REJECTED: "this build was rejected",
    State.RETIRING: "this build was judged and retired",
    State.RETIRED: "this build was judged and retired",
}


class Run(BaseModel):
    """What one run is about; small enough to travel between tasks."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    source: str
    build: Build

    @property
    def release_id(self) -> str:
        """The release that this run is to make."""
        return self.build.release_id

    @property
    def run_nonce(self) -> str:
        """Marks this run's manifest: 32 hex digits, the same in each try of the run."""
        return hashlib.sha256(self.run_id.encode()).hexdigest()[:32]

    @property
    def features(self) -> FeatureSettings:
        """The build's feature settings."""
        return FeatureSettings.model_validate(self.build.settings["features"])


@dataclass(frozen=True)
class Verdict:
    """Whether there is something to do, and why."""

    is_new: bool
    reason: str
    run: Run


def data_is_new(
    services: Services,
    *,
    source: str,
    trainer_digest: str,
    settings: BuildSettings,
    run_id: str,
    force: bool,
    actor: str,
) -> Verdict:
    """Compares the build (dataset md5, trainer digest, settings) with what was judged before.

    Raises:
        SourceUnreachableError: the source does not answer; never taken for "unchanged".
        DatasetError: the md5 file is missing or holds no md5.
    """
    md5 = dataset.read_source_md5(source, services.s3)
    build = Build(
        dataset_md5=md5, trainer_digest=trainer_digest, settings=settings.model_dump(mode="json")
    )
    run = Run(run_id=run_id, source=source, build=build)
    with services.connect() as conn:
        ledger.prepare(conn)
        known = ledger.find(conn, build.release_id)
        champion = ledger.champion(conn)
        if known and known.state in _JUDGED and not force:
            ledger_records.note_nothing_new(conn, known.release_id, run_id, actor)
            verdict = Verdict(False, _JUDGED[known.state], run)
        else:
            reason = _why_new(build, champion, known, force)
            ledger.begin_build(
                conn, build, run_id=run_id, run_nonce=run.run_nonce, actor=actor, reason=reason
            )
            verdict = Verdict(True, reason, run)
    log.info("%s: %s", build.release_id, verdict.reason)
    return verdict


def _why_new(
    build: Build, champion: ledger.Release | None, known: ledger.Release | None, force: bool
) -> str:
    if known is not None:
        return f"forced: the build was {known.state}" if force else "an earlier run did not finish"
    if champion is None:
        return "the first release"
    changed = [
        name
        for name, now, then in (
            ("dataset", build.dataset_md5, champion.build["dataset_md5"]),
            ("trainer", build.trainer_digest, champion.build["trainer_digest"]),
            ("settings", build.settings, champion.build["settings"]),
        )
        if now != then
    ]
    return f"changed since the champion: {', '.join(changed)}"


def fetch_dataset(
    services: Services, run: Run, progress: Callable[[int, int | None], None] | None = None
) -> dataset.FetchedDataset:
    """Brings the dataset's zip into the store, verified; nothing is done if it is there."""
    return dataset.fetch_dataset(
        run.source, run.build.dataset_md5, services.store, s3=services.s3, progress=progress
    )


def generate_data_frames(services: Services, run: Run) -> interactions.Stats:
    """Makes interactions, movies and quarantine from the dataset; nothing if they are there."""
    with scratch_folder("frames") as work:
        return interactions.generate_data_frames(
            run.build.dataset_md5, services.store, run.features, work
        )


def measure_drift(services: Services, run: Run, settings: DriftSettings) -> drift.Drift | None:
    """Holds the dataset against the champion's.

    Returns:
        None if there is nothing to compare with: no champion, or one made of the same dataset, or
        of a dataset whose features are gone.

    Raises:
        DatasetError: it has drifted beyond a hard limit.
    """
    md5 = run.build.dataset_md5
    with services.connect() as conn:
        champion = ledger.champion(conn)
    if champion is None or champion.dataset_md5 == md5:
        return None
    found = drift.measure_drift(services.store, md5, champion.dataset_md5)
    if found is not None:
        drift.check_drift(found, settings)
    return found


def enable_vector_extension(services: Services) -> None:
    """Enables pgvector in the vector database."""
    with services.connect() as conn:
        vector_store.enable_vector_extension(conn)


def load_movie_vectors(services: Services, run: Run) -> dict[str, Any]:
    """Computes the movie vectors, measures how good they are, and loads them.

    Returns:
        Facts of the table: rows, digest, quality (`vector_quality.VectorQuality`, or None where
        the holdout says nothing).
    """
    with services.connect() as conn:
        release = ledger.get(conn, run.release_id)
        if release.completed_at:
            return dict(release.tables[_MOVIE_VECTORS.name])
    with scratch_folder("vectors") as work:
        made = stored_vectors.take_movie_vectors(
            run.build.dataset_md5, services.store, run.features, work
        )
        quality = vector_quality.measure_quality(work, dim=run.features.vector_dim)
    facts = {"quality": quality.model_dump(mode="json") if quality else None}
    return _load(services, run, _MOVIE_VECTORS, made.ids, made.vectors, {}, facts)


def check_vectors(services: Services, run: Run) -> vector_store.VectorReport:
    """Checks the loaded movie vectors: counts, norms, recall and speed of the index."""
    stats = interactions.read_stats(services.store, run.build.dataset_md5)
    if stats is None:
        raise ArtifactError(
            "the features of this dataset are gone",
            expected=contract.features_key(run.build.dataset_md5, contract.STATS_FILE),
            hint="clear generate_data_frames to make them again",
        )
    with services.connect() as conn:
        return vector_store.check_vectors(
            conn, _MOVIE_VECTORS, run.release_id, expected_rows=stats.rated_movies
        )


def train_dl_model(
    services: Services,
    run: Run,
    trainer: LocalTrainer,
    on_line: Callable[[str], None] = log.info,
) -> bool:
    """Trains in a process of its own; returns False if the release was trained already.

    Raises:
        TrainingError: the trainer failed for good.
        TransientError: it was killed, or could not reach S3.
    """
    given = begin_training(services, run)
    if given is None:
        return False
    trainer.run("train", given, secrets(services), on_line)
    return True


def begin_training(services: Services, run: Run) -> TrainerInput | None:
    """What the trainer is to be told; None if the release was trained already.

    Whatever an earlier run's trainer writes from now on is not accepted any more.
    """
    with services.connect() as conn:
        release = ledger.get(conn, run.release_id)
        if _is_trained(services, release):
            return None
        ledger.set_nonce(conn, run.release_id, run.run_nonce)
    return trainer_input(services, run, run.run_nonce)


def _is_trained(services: Services, release: ledger.Release) -> bool:
    try:
        manifest, _ = verification.read_manifest(services.store, release.release_id)
        verification.check_manifest(manifest, release)
    except ArtifactError:
        # A complete release is never trained again: its broken manifest is verify's to report.
        return release.completed_at is not None
    return True


def verify_candidate(
    services: Services,
    run: Run,
    trainer: LocalTrainer,
    on_line: Callable[[str], None] = log.info,
) -> None:
    """Accepts only a release of this build and run whose files are whole and whose model loads.

    The model is loaded in a fresh process with stock Keras and must reproduce its golden
    predictions.

    Raises:
        ArtifactError: the manifest or an artifact is missing or is not what it should be.
        TrainingError: the model does not load or answers otherwise than recorded.
    """
    trainer.run("verify", check_candidate(services, run), secrets(services), on_line)


def check_candidate(services: Services, run: Run) -> TrainerInput:
    """Checks manifest and files; returns what the process is to be told that loads the model.

    Raises:
        ArtifactError: the manifest or an artifact is missing or is not what it should be.
    """
    with services.connect() as conn:
        release = ledger.get(conn, run.release_id)
    manifest, _ = verification.read_manifest(services.store, run.release_id)
    verification.check_manifest(manifest, release)
    verification.check_artifacts(services.store, manifest)
    return trainer_input(services, run, release.run_nonce)


def load_towers(services: Services, run: Run) -> dict[str, dict[str, Any]]:
    """Loads the trainer's user and movie towers into the release's own tables, and checks them.

    Returns:
        Facts of each table: rows, digest.
    """
    with services.connect() as conn:
        release = ledger.get(conn, run.release_id)
    if release.completed_at:
        return {t.name: dict(release.tables[t.name]) for t in _TOWERS}
    manifest, _ = verification.read_manifest(services.store, run.release_id)
    loaded = {}
    for table in _TOWERS:
        artifact = manifest.artifact(table.artifact or "")
        with scratch_folder("towers") as work:
            path = work / "towers.parquet"
            services.store.download(artifact.key, path, artifact.sha256)
            ids, towers, extra = vector_store.read_vectors(path)
        loaded[table.name] = _load(services, run, table, ids, towers, extra)
    with services.connect() as conn:
        for table in _TOWERS:
            vector_store.check_vectors(
                conn, table, run.release_id, expected_rows=loaded[table.name]["rows"]
            )
    return loaded


def gate_candidate(services: Services, run: Run, settings: GateSettings) -> Decision:
    """Makes the release a candidate, judges it against the champion, and stores the decision."""
    manifest, sha256 = verification.read_manifest(services.store, run.release_id)
    with services.connect() as conn:
        release = ledger.complete(
            conn, manifest, sha256, actor="gate_candidate", reason="verified and loaded"
        )
        champion = ledger.champion(conn)
        if champion is not None and champion.release_id == release.release_id:
            champion = None
        moved = None
        if champion is not None:
            moved = drift.read_drift(services.store, run.build.dataset_md5, champion.dataset_md5)
        decision = judge(
            judged_metrics(manifest, release.tables, moved.measures() if moved else None),
            judged_metrics(champion.complete_manifest, champion.tables) if champion else None,
            settings,
        )
        champion_id = champion.release_id if champion else None
        diff = None
        if champion_id is not None:
            found = release_diff.compare(conn, champion_id, release.release_id)
            diff = found.model_dump(mode="json")
        ledger_records.record_decision(
            conn, release.release_id, champion_id, run.run_id, decision, diff
        )
    log.info("%s: %s", run.release_id, decision.reason)
    return decision


def write_report(services: Services, run: Run) -> str | None:
    """Makes and stores the release's report; returns its key, or None if that failed.

    A report explains; that it cannot be made is no reason to fail a run or hold up a promotion.
    """
    # Drawing needs a library that is slow to import, and no other step does.
    from recsys import report_release

    try:
        return report_release.make_report(services, run.release_id)
    except Exception:
        log.exception("there is no report of %s; `recsys report` makes it later", run.release_id)
        return None


def reject_candidate(services: Services, run: Run, *, actor: str, reason: str) -> None:
    """Records that the candidate was rejected; production stays as it is."""
    with services.connect() as conn:
        release = ledger.get(conn, run.release_id)
        if release.state == State.CANDIDATE:
            ledger.move(conn, run.release_id, State.REJECTED, actor=actor, reason=reason)
        elif release.state != State.REJECTED:
            # A forced run may judge a release that is or was served: that alone moves nothing.
            ledger_records.note(
                conn, "judged and rejected", actor=actor, reason=reason, release_id=run.release_id
            )


def update_internal_hash(services: Services, run: Run) -> None:
    """Records which dataset production was brought up to."""
    with services.connect() as conn:
        ledger_records.update_internal_hash(conn, run.release_id, run.run_id)


def trainer_input(services: Services, run: Run, nonce: str) -> TrainerInput:
    """What the trainer is told, wherever it runs."""
    with services.connect() as conn:
        champion = ledger.champion(conn)
    # A forced run may train the champion's own build, which has nothing to be compared with.
    other = champion is not None and champion.release_id != run.release_id
    return TrainerInput(
        champion=champion.release_id if champion and other else None,
        build=run.build,
        run_nonce=nonce,
        s3_bucket=services.s3.bucket,
        s3_endpoint=services.s3.endpoint,
        s3_region=services.s3.region,
    )


def secrets(services: Services) -> dict[str, str]:
    """The values of `contract.SECRET_ENV` that are set."""
    values = (services.s3.access_key, services.s3.secret_key)
    return {
        name: value.get_secret_value()
        for name, value in zip(contract.SECRET_ENV, values, strict=True)
        if value is not None
    }


def _load(
    services: Services,
    run: Run,
    table: PublicTable,
    ids: Any,
    matrix: Any,
    extra: Mapping[str, Any],
    more_facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    with services.connect() as conn:
        loaded = vector_store.load_vectors(conn, table, run.release_id, ids, matrix, extra)
        facts = {"rows": loaded.rows, "digest": loaded.digest, **(more_facts or {})}
        ledger.record_table(conn, run.release_id, table.name, facts)
    return facts
