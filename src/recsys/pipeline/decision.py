"""Steps after the training: the gate's decision, the report, and their records in the ledger."""

from __future__ import annotations

import logging
from typing import Any

from recsys import features, ledger, releases, reports
from recsys.database import Connection
from recsys.dataset import redact_sources
from recsys.errors import ArtifactError, LedgerError, VectorError
from recsys.gate import (
    Decision,
    GateSettings,
    JudgedMetrics,
    decision_lines,
    judge,
    judged_metrics,
)
from recsys.ledger import Action, Actor, Release, State
from recsys.pipeline.run import Run, continue_build
from recsys.services import Services
from recsys.signing import SigningKey

log = logging.getLogger(__name__)


def gate_candidate(
    services: Services,
    run: Run,
    settings: GateSettings,
    *,
    drift_accepted: bool = False,
    signing_key: SigningKey | None = None,
) -> Decision:
    """Marks the release as a candidate, measures what its tables serve, and stores the decision.

    With a key, the release is signed before it is marked: then all its parts are verified, and no
    process that is killed leaves a candidate without signature.

    Args:
        services: PostgreSQL and S3.
        run: the run that made the candidate.
        settings: limits of the gate.
        drift_accepted: whether a person accepted the drift for this run.
        signing_key: the private key; None to sign nothing.

    Raises:
        ConfigurationError: the signing key is not one that releases are verified with.
        ArtifactError: the features or an artifact are missing or were changed.
        VectorError: a table is missing.
    """
    continue_build(services, run)
    manifest, sha256 = releases.read_manifest(services.store, run.release_id)
    with services.connect() as conn:
        releases.accept_measurement(services.store, ledger.get(conn, run.release_id), sha256)
        measured = releases.read_measurement(services.store, run.release_id, sha256)
        actor = Actor.from_run(run.run_id, "verified and loaded", name="gate_candidate")
        if signing_key is not None:
            releases.sign_candidate(
                conn, services, manifest, sha256, signing_key, source=redact_sources(run.source)
            )
        release = ledger.complete(conn, manifest, sha256, actor=actor)
        if signing_key is not None:
            releases.note_signature(conn, services.store, run.release_id, actor, run.run_id)
        served = releases.measure_served(conn, services.store, release, run.build.features_prefix)
        champion = ledger.champion(conn)
        if champion is not None and champion.release_id == release.release_id:
            champion = None
        moved = None
        if champion is not None:
            moved = features.read_drift(
                run.build.features_prefix, champion.dataset_md5, services.store
            )
        decision = judge(
            judged_metrics(
                manifest,
                release.tables,
                moved.measures() if moved else None,
                served,
                measured,
                drift_accepted=drift_accepted,
            ),
            _of_champion(services, champion) if champion else None,
            settings,
            ledger.past_promotions(conn, settings.memory_releases + 1),
        )
        champion_id = champion.release_id if champion else None
        diff = None
        if champion_id is not None:
            diff = _diff(conn, champion_id, release.release_id)
        ledger.record_decision(conn, release.release_id, champion_id, run.run_id, decision, diff)
    for line in decision_lines(decision):
        log.info("%s", line)
    log.info("%s: %s", run.release_id, decision.reason)
    return decision


def _of_champion(services: Services, champion: Release) -> JudgedMetrics:
    """Returns the champion's measured metrics; its trainer's, if an earlier pipeline judged it.

    Its trainer's agree with the measured ones, so that a damaged file must not stop all candidates.
    """
    measured = None
    try:
        measured = releases.find_measurement(
            services.store, champion.release_id, champion.manifest_sha256
        )
    except ArtifactError as damage:
        log.warning("the champion's measurement is not read: %s", damage)
    return judged_metrics(champion.complete_manifest, champion.tables, measured=measured)


def _diff(conn: Connection, champion: str, candidate: str) -> dict[str, Any] | None:
    """Returns the differences that the site would see; None if the champion's tables are lost."""
    try:
        return releases.compare_releases(conn, champion, candidate).model_dump(mode="json")
    except VectorError as damage:
        log.warning("the candidate is not compared with the champion's vectors: %s", damage)
        return None


def write_report(services: Services, run: Run) -> str | None:
    """Renders and stores the release's report; returns its key, or None if that failed.

    A missing report neither fails the run nor delays the promotion.
    """
    try:
        return reports.make_report(services, run.release_id)
    except Exception:
        log.exception("no report of %s was written; `recsys report` writes it", run.release_id)
        return None


def reject_candidate(services: Services, run: Run, *, actor: Actor) -> None:
    """Records that the candidate was rejected; production does not change.

    Raises:
        LedgerError: another run or a person has decided on the release since.
    """
    with services.connect() as conn:
        release = ledger.get(conn, run.release_id)
        standing = ledger.standing_decision(conn, run.release_id)
        if standing is not None and standing.run_id != run.run_id:
            raise LedgerError(
                f"release {run.release_id} was judged again since, so this run does not reject it",
                found=f"a decision of {standing.run_id}",
                expected=f"a decision of run {run.run_id}",
                hint="leave it; `recsys why` shows the newer decision",
            )
        if release.state == State.CANDIDATE:
            ledger.move(conn, run.release_id, State.REJECTED, actor=actor)
        elif release.state != State.REJECTED:
            # A forced run may judge a current or former champion: a rejection keeps its state.
            ledger.note(
                conn,
                Action.REJECTED_AGAIN,
                actor=actor,
                release_id=run.release_id,
                run_id=run.run_id,
            )


def update_internal_hash(services: Services, run: Run) -> None:
    """Records in the history, once per run, which dataset the champion was made from."""
    md5 = run.build.dataset_md5
    with services.connect() as conn:
        ledger.note_once(
            conn,
            Action.PRODUCTION_UPDATED,
            actor=Actor.from_run(run.run_id, f"production is at dataset {md5}"),
            release_id=run.release_id,
            run_id=run.run_id,
            dataset_md5=md5,
        )
