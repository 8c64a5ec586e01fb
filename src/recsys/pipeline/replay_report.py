"""What a replayed history says about the gate: decisions, promises, regret, planted faults."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from recsys.gate import ForwardTest, consistency, coverage
from recsys.pipeline.replay_history import ReplayedDump


class Regret(BaseModel):
    """What the champions lost against the best release that was known.

    Attributes:
        tested: number of dumps on which another release was compared with the champion.
        rmse: mean over these of what the best other release's RMSE was lower by, at least 0.
        ndcg: mean of what its NDCG@10 was higher by, at least 0.
    """

    model_config = ConfigDict(frozen=True)

    tested: int
    rmse: float
    ndcg: float


class FaultOutcome(BaseModel):
    """How one planted fault fared.

    Attributes:
        fault: the fault.
        number: of its dump.
        outcome: of its candidate.
        failed_rules: rules that stopped it; empty if it was accepted or a step refused it.
        reason: why.
    """

    model_config = ConfigDict(frozen=True)

    fault: str
    number: int
    outcome: str
    failed_rules: list[str]
    reason: str


class RuleMargin(BaseModel):
    """How near a rule's limit sound candidates came, and where planted faults were.

    Attributes:
        rule: a rule that was binding and had a number.
        sound: number of sound candidates that it judged.
        rejected: numbers of the sound dumps that it rejected.
        nearest: value and limit of the sound candidate that passed with the least difference
            between them; None if none passed.
        planted: by the number of a dump with a planted fault: value and limit.
    """

    model_config = ConfigDict(frozen=True)

    rule: str
    sound: int
    rejected: list[int]
    nearest: tuple[float, float] | None
    planted: dict[int, tuple[float, float]]


class ReplayReport(BaseModel):
    """The summary of a replayed history.

    Attributes:
        dumps: number of replayed dumps.
        outcomes: number of dumps by outcome.
        sound_rejected: dumps without a planted fault that were not accepted.
        coverage: by metric, realized values in the promised interval, and of how many.
        consistency: by metric, realized values that differ from the promise by no more than both
            are uncertain, and of how many.
        decayed: numbers of the dumps at which the champion was surely worse than promised.
        regret: against the releases that were compared with the champion.
        faults: the planted faults.
        margins: of each rule, as they follow in a decision.
        seconds: duration of all dumps.
    """

    model_config = ConfigDict(frozen=True)

    dumps: int
    outcomes: dict[str, int]
    sound_rejected: list[int]
    coverage: dict[str, tuple[int, int]]
    consistency: dict[str, tuple[int, int]]
    decayed: list[int]
    regret: Regret
    faults: list[FaultOutcome]
    margins: list[RuleMargin]
    seconds: float

    def document(self) -> dict[str, Any]:
        """Returns the report as JSON values."""
        return self.model_dump(mode="json")


def report_replay(done: Sequence[ReplayedDump]) -> ReplayReport:
    """Summarizes replayed dumps."""
    tests = [test for replayed in done for test in replayed.forward]
    outcomes = [replayed.outcome for replayed in done]
    return ReplayReport(
        dumps=len(done),
        outcomes={name: outcomes.count(name) for name in sorted(set(outcomes))},
        sound_rejected=[
            replayed.number
            for replayed in done
            if not replayed.fault and replayed.outcome != "accepted"
        ],
        coverage=coverage(tests),
        consistency=consistency(tests),
        decayed=[
            replayed.number for replayed in done if any(test.decays for test in replayed.forward)
        ],
        regret=_regret(done),
        faults=[
            FaultOutcome(
                fault=replayed.fault,
                number=replayed.number,
                outcome=replayed.outcome,
                failed_rules=replayed.failed_rules,
                reason=replayed.reason,
            )
            for replayed in done
            if replayed.fault
        ],
        margins=_margins(done),
        seconds=round(sum(replayed.seconds for replayed in done), 1),
    )


def _margins(done: Sequence[ReplayedDump]) -> list[RuleMargin]:
    found: dict[str, list[tuple[ReplayedDump, bool, float, float]]] = {}
    for replayed in done:
        for rule in replayed.rules:
            if rule.binding and rule.value is not None and rule.threshold is not None:
                judged = (replayed, rule.passed, rule.value, rule.threshold)
                found.setdefault(rule.name, []).append(judged)
    return [
        RuleMargin(
            rule=name,
            sound=sum(not replayed.fault for replayed, *_ in judged),
            rejected=[
                replayed.number for replayed, passed, *_ in judged if not (replayed.fault or passed)
            ],
            nearest=min(
                (
                    (value, limit)
                    for replayed, passed, value, limit in judged
                    if passed and not replayed.fault
                ),
                key=lambda ends: abs(ends[0] - ends[1]),
                default=None,
            ),
            planted={
                replayed.number: (value, limit)
                for replayed, _, value, limit in judged
                if replayed.fault
            },
        )
        for name, judged in found.items()
    ]


def _regret(done: Sequence[ReplayedDump]) -> Regret:
    gains = [list(_gains(replayed.forward)) for replayed in done]
    compared = [found for found in gains if found]
    if not compared:
        return Regret(tested=0, rmse=0.0, ndcg=0.0)
    return Regret(
        tested=len(compared),
        rmse=sum(max(rmse for rmse, _ in found) for found in compared) / len(compared),
        ndcg=sum(max(ndcg for _, ndcg in found) for found in compared) / len(compared),
    )


def _gains(tests: Sequence[ForwardTest]) -> Iterator[tuple[float, float]]:
    """Yields by how much each other release was better than the champion, at least 0.

    The middle of the paired interval stands for the difference.
    """
    for test in tests:
        if test.against_champion:
            rmse, ndcg = (
                sum(test.against_champion.get(name, (0.0, 0.0))) / 2 for name in ("rmse", "ndcg@10")
            )
            yield max(0.0, -rmse), max(0.0, ndcg)
