"""The run's build, and whether this build still has to be made."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict

from recsys import dataset, features, ledger, releases
from recsys.contract import Build, BuildSettings, FeatureSettings
from recsys.database import Connection
from recsys.errors import DatasetError, LedgerError, RecsysError
from recsys.ledger import Action, Actor, State
from recsys.services import Services

log = logging.getLogger(__name__)

# Reasons for not making a build again, by the state of its release.
_JUDGED: Final = {
    State.CHAMPION: "this build is the champion",
    State.SUPERSEDED: "this build was champion before; `recsys rollback` brings it back",
    State.ROLLED_BACK: "this build was rolled back",
    State.REJECTED: "this build was rejected",
    State.RETIRING: "this build was judged and retired",
    State.RETIRED: "this build was judged and retired",
}


class Run(BaseModel):
    """Id, source and build of a run; passed between tasks through XCom."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    source: str
    build: Build

    @property
    def release_id(self) -> str:
        """Id of the release that this run makes."""
        return self.build.release_id

    @property
    def run_nonce(self) -> str:
        """Identifies the manifest of this run: 32 hex digits, the same in every try."""
        return hashlib.sha256(self.run_id.encode()).hexdigest()[:32]

    @property
    def features(self) -> FeatureSettings:
        """The build's feature settings."""
        return self.build.features


@dataclass(frozen=True)
class Verdict:
    """Whether the build is new, and why."""

    is_new: bool
    reason: str
    run: Run


def continue_build(services: Services, run: Run) -> ledger.Release:
    """Records that the run works on its release now; returns the release.

    Raises:
        LedgerError: the release was abandoned or retired.
    """
    with services.connect() as conn:
        release = ledger.continue_build(conn, run.release_id)
        if release.state == State.BUILDING and release.features_prefix != run.build.features_prefix:
            # Earlier code began the build, and may have made its features.
            stats = features.find_features(run.build.dataset_md5, services.store, run.features)
            if stats is not None:
                ledger.record_features(conn, run.release_id, stats.prefix)
                release = ledger.get(conn, run.release_id)
        return release


@contextmanager
def working(services: Services, run: Run) -> Iterator[ledger.Release]:
    """Yields the release for a step that writes; deletes what it wrote if the release has ended.

    Raises:
        LedgerError: the release was abandoned or retired before the step or meanwhile.
    """
    yield continue_build(services, run)
    try:
        continue_build(services, run)
    except LedgerError:
        try:
            releases.delete_leftovers(services, run.release_id)
        except RecsysError as error:
            log.warning("what this step wrote remains until `recsys clean`: %s", error)
        raise


@contextmanager
def abandoning_refused(services: Services, run: Run) -> Iterator[None]:
    """Marks the run's release as abandoned if its dataset is refused, which no retry changes."""
    try:
        yield
    except DatasetError as error:
        actor = Actor.from_run(run.run_id, f"the dataset was refused: {error.message}")
        with services.connect() as conn:
            ledger.abandon_build(conn, run.release_id, actor=actor)
        raise


class Heartbeat:
    """Records that a run works on its release, however often it is called.

    Args:
        services: PostgreSQL.
        run: the run.
        interval_s: least seconds between two records.
    """

    def __init__(self, services: Services, run: Run, interval_s: float = 60.0) -> None:
        self._interval_s = interval_s
        self._services = services
        self._run = run
        self._last: float | None = None

    def beat(self) -> None:
        """Calls `continue_build` unless the last call was less than an interval ago.

        Raises:
            LedgerError: the release was abandoned or retired.
        """
        now = time.monotonic()
        if self._last is None or now - self._last >= self._interval_s:
            continue_build(self._services, self._run)
            self._last = time.monotonic()


def keep_open_builds(services: Services, is_open: Callable[[str], bool]) -> list[str]:
    """Keeps builds and candidates from being abandoned while their runs are open, however long.

    Args:
        services: PostgreSQL.
        is_open: whether the run of this id is queued or running.

    Returns:
        The ids of the open runs.
    """
    with services.connect() as conn:
        if not ledger.applied(conn):
            return []
        open_runs = [run_id for run_id in ledger.unfinished_runs(conn) if is_open(run_id)]
        ledger.keep_releases(conn, open_runs)
    return open_runs


def data_is_new(
    services: Services,
    *,
    source: str,
    trainer_digest: str,
    settings: BuildSettings,
    run_id: str,
    force: bool,
    actor: Actor,
    fetch: dataset.FetchSettings | None = None,
) -> Verdict:
    """Compares the build (dataset md5, trainer digest, settings) with the builds in the ledger.

    Args:
        services: PostgreSQL and S3.
        source: see `recsys.dataset.read_source_md5`.
        trainer_digest: digest of the trainer's image, or hash of its sources.
        settings: settings of the build.
        run_id: id of the run.
        force: whether a build that was judged is made again.
        actor: who started the run.
        fetch: timeouts and credentials of the source; from the environment if not given.

    Raises:
        SourceUnreachableError: the source cannot be reached; this never counts as "unchanged".
        DatasetError: the md5 file is missing or contains no md5.
    """
    md5 = dataset.read_source_md5(source, services.s3, fetch)
    with services.connect() as conn:
        ledger.prepare(conn)
        erased = releases.erased_users(conn)
        made = settings.features.model_copy(update={"erased": erased.digest})
        build = Build(
            dataset_md5=md5,
            trainer_digest=trainer_digest,
            settings=settings.model_copy(update={"features": made}).model_dump(mode="json"),
        )
        run = Run(run_id=run_id, source=source, build=build)
        known = ledger.find(conn, build.release_id)
        champion = ledger.champion(conn)
        if known and not force and _is_judged(conn, known):
            reason = _JUDGED[known.state]
            ledger.note(
                conn,
                Action.NOTHING_NEW,
                actor=actor.because(reason),
                release_id=known.release_id,
                run_id=run_id,
            )
            verdict = Verdict(False, reason, run)
        else:
            reason = _why_new(build, champion, known, force)
            ledger.begin_build(
                conn,
                build,
                run_id=run_id,
                run_nonce=run.run_nonce,
                actor=actor.because(reason),
            )
            verdict = Verdict(True, reason, run)
    log.info("%s: %s", build.release_id, verdict.reason)
    return verdict


def _is_judged(conn: Connection, release: ledger.Release) -> bool:
    """Whether a build was judged or served. A build without a decision is made again."""
    if release.state in (State.RETIRING, State.RETIRED):
        return ledger.last_decision(conn, release.release_id) is not None
    return release.state in _JUDGED


def _why_new(
    build: Build, champion: ledger.Release | None, known: ledger.Release | None, force: bool
) -> str:
    if known is not None:
        return f"forced: the build was {known.state}" if force else "no run has judged it yet"
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
