"""Replays a dataset's history: the real steps and the real gate on one dump after another.

Each dump is a run: features, forward test, vectors, training, check, gate, promotion. Planted
faults show what the gate would have done with them. The ledger and a file with the finished dumps
are enough to continue after a kill.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from recsys import ledger, releases
from recsys.contract import BuildSettings, TrainerSettings
from recsys.errors import PermanentError
from recsys.experiments import Dump, Fault
from recsys.features import DriftSettings
from recsys.gate import Decision, ForwardSettings, ForwardTest, GateSettings, RuleResult
from recsys.ledger import Actor
from recsys.pipeline.beside import beside
from recsys.pipeline.decision import gate_candidate, reject_candidate
from recsys.pipeline.features import (
    check_vectors,
    enable_vector_extension,
    fetch_dataset,
    generate_data_frames,
    load_movie_vectors,
    measure_drift,
)
from recsys.pipeline.forward import forward_test
from recsys.pipeline.forward_stars import predicted_here
from recsys.pipeline.run import Run, data_is_new
from recsys.pipeline.training import load_towers, train_dl_model, verify_candidate
from recsys.services import Services
from recsys.trainer_process import LocalTrainer

log = logging.getLogger(__name__)

SMALL: Final[dict[str, Any]] = {
    "rating": {"members": 1, "epochs": 4, "samples": 0},
    "ranking": {
        "epochs": 1,
        "stride": 9,
        "history": 15,
        "full_softmax_movies": 1000,
        "negatives": 512,
        "transition_movies": 1000,
        "transition_dim": 64,
        "transition_moments": 30_000,
        "ease_movies": 1000,
        "ease_dim": 64,
    },
}
"""A configuration that trains in seconds; decisions are about its differences, not its level."""
UNTRAINED: Final[dict[Fault, dict[str, Any]]] = {
    Fault.DEGRADED: {"rating": {"members": 1, "epochs": 1, "learning_rate": 1e-4, "samples": 0}},
    Fault.POPULARITY: {
        "ranking": {
            "epochs": 1,
            "learning_rate": 1e-6,
            "transition_weight": 0.0,
            "ease_weight": 0.0,
        }
    },
}


class ReplayedDump(BaseModel):
    """What happened with one dump.

    Attributes:
        number: of the dump, from 1.
        dataset_md5: of the dump.
        until: its newest rating, seconds since 1970.
        ratings: number of its ratings.
        fault: the planted fault; empty if there is none.
        release_id: the candidate.
        outcome: ``accepted``, ``rejected``, or ``refused``: a step failed for the data or files.
        reason: why.
        failed_rules: binding rules that the candidate failed.
        rules: all rules of the decision; empty if there was none.
        champion: the champion afterwards.
        forward: the tests of this run.
        seconds: duration.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    dataset_md5: str
    until: int
    ratings: int
    fault: str
    release_id: str
    outcome: str
    reason: str
    failed_rules: list[str]
    rules: list[RuleResult] = []
    champion: str | None
    forward: list[ForwardTest]
    seconds: float


@dataclass(frozen=True)
class ReplaySettings:
    """How a history is replayed.

    Attributes:
        gate: limits of the gate.
        forward: limits of the forward test.
        overrides: of the trainer's configuration.
        seed: of the trainer.
    """

    gate: GateSettings
    forward: ForwardSettings
    overrides: dict[str, Any]
    seed: int = 20

    @classmethod
    def small(cls) -> ReplaySettings:
        """Returns the gate's defaults, with a training that takes seconds."""
        # A dump of a small history has few newer ratings.
        forward = ForwardSettings(releases=2, min_rows=50)
        return cls(GateSettings(), forward, SMALL)


def replay_dump(
    services: Services, trainer: LocalTrainer, dump: Dump, fault: Fault | None, how: ReplaySettings
) -> ReplayedDump:
    """Runs the steps of a run on one dump, as the DAG does; continues a killed run.

    Args:
        services: servers that nothing else uses.
        trainer: trains in a process, see `trainer_session`.
        dump: the dump.
        fault: what is wrong with the dump or its training; None: nothing.
        how: limits and configuration.

    Raises:
        TransientError: a server or the trainer's process was lost; call it again.
    """
    began = time.monotonic()
    actor = Actor("replay", f"dump {dump.number}", "a replay of a history")
    overrides = (
        {
            section: {**how.overrides.get(section, {}), **UNTRAINED.get(fault, {}).get(section, {})}
            for section in ("rating", "ranking")
        }
        if fault
        else how.overrides
    )
    run = data_is_new(
        services,
        source=str(dump.path),
        trainer_digest=trainer.digest(),
        settings=BuildSettings(trainer=TrainerSettings(seed=how.seed, overrides=overrides)),
        run_id=f"replay-{dump.number:03}",
        force=True,
        actor=actor,
    ).run
    tests: list[ForwardTest] = []
    decision: Decision | None = None
    try:
        decision = _steps(services, trainer, run, how, tests)
    except PermanentError as error:
        reason, outcome = str(error), "refused"
    else:
        reason, outcome = decision.reason, "accepted" if decision.accepted else "rejected"
        if decision.accepted:
            releases.promote_release(
                services, run.release_id, actor=actor.because(reason), run_id=run.run_id
            )
        else:
            reject_candidate(services, run, actor=actor.because(reason))
    with services.connect() as conn:
        champion = ledger.champion(conn)
        recorded = ledger.forward_tests(conn, dataset_md5=dump.md5)
    return ReplayedDump(
        number=dump.number,
        dataset_md5=dump.md5,
        until=dump.until,
        ratings=dump.ratings,
        fault=fault or "",
        release_id=run.release_id,
        outcome=outcome,
        reason=reason,
        failed_rules=[
            rule.name
            for rule in (decision.rules if decision else ())
            if rule.binding and not rule.passed
        ],
        rules=list(decision.rules) if decision else [],
        champion=champion.release_id if champion else None,
        forward=[one.test for one in recorded],
        seconds=round(time.monotonic() - began, 1),
    )


def _steps(
    services: Services,
    trainer: LocalTrainer,
    run: Run,
    how: ReplaySettings,
    tests: list[ForwardTest],
) -> Decision:
    fetch_dataset(services, run)
    generate_data_frames(services, run)
    tests += forward_test(services, run, how.forward, predicted_here(trainer.predict))
    measure_drift(services, run, DriftSettings())
    enable_vector_extension(services)
    with beside(_load_movie_vectors, services, run):
        train_dl_model(services, run, trainer, log.debug)
        verify_candidate(services, run, trainer, log.debug)
    load_towers(services, run)
    return gate_candidate(services, run, how.gate)


def _load_movie_vectors(services: Services, run: Run) -> None:
    load_movie_vectors(services, run)
    check_vectors(services, run)


def replay_history(
    services: Services,
    trainer: LocalTrainer,
    dumps: Sequence[tuple[Dump, Fault | None]],
    how: ReplaySettings,
    journal: Path,
    on_dump: Callable[[ReplayedDump], None] = lambda done: None,
) -> list[ReplayedDump]:
    """Replays dumps that are not in the journal yet, oldest first; returns all.

    Args:
        services: servers that nothing else uses.
        trainer: trains in a process.
        dumps: each with its planted fault.
        how: limits and configuration.
        journal: a file with one line of JSON for each finished dump.
        on_dump: called with each dump, also with those of an earlier call.
    """
    done = read_journal(journal)
    for replayed in done:
        on_dump(replayed)
    for dump, fault in dumps[len(done) :]:
        replayed = replay_dump(services, trainer, dump, fault, how)
        with journal.open("a", encoding="utf-8") as file:
            file.write(replayed.model_dump_json() + "\n")
        done.append(replayed)
        on_dump(replayed)
    return done


def read_journal(journal: Path) -> list[ReplayedDump]:
    """Returns the finished dumps; a torn last line, which a kill leaves, is dropped."""
    if not journal.exists():
        return []
    text = journal.read_text(encoding="utf-8")
    whole, _, torn = text.rpartition("\n")
    if torn:
        journal.write_text(f"{whole}\n" if whole else "", encoding="utf-8")
    return [ReplayedDump.model_validate_json(line) for line in whole.splitlines()]
