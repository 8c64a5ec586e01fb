"""The gate: a pure function from metrics to a decision, with every rule, value and threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from recsys.gate import data_rules
from recsys.gate import rules as gate_rules
from recsys.gate.champion import against_champion, not_a_copy
from recsys.gate.holdouts import last_visit, time_holdout
from recsys.gate.judged import JudgedMetrics
from recsys.gate.measured import trainer_metrics_agree
from recsys.gate.measures import RuleResult
from recsys.gate.memory import Memory, PastPromotion, remember
from recsys.gate.served import served_model, served_tables
from recsys.gate.settings import GateSettings
from recsys.gate.slices import slices


class Override(BaseModel):
    """A promotion by a person of a release that the gate had not accepted.

    Attributes:
        actor: the person.
        reason: the person's reason.
        found: reason of the gate's decision; None if there was no decision.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    actor: str
    reason: str
    found: str | None


class Decision(BaseModel):
    """The gate's decision on a candidate, with the result of each rule.

    Attributes:
        accepted: whether the candidate may be promoted.
        rules: the result of each rule.
        reason: why, in words.
        override: a person's act that replaces the gate's decision; None for the gate's own.
        memory: losses that later decisions sum up; None in decisions of earlier code.
        served: measurements of the served tables, see `ServedFacts`; None if there are none.
        measured: what the verifier measured, of `recsys.contract.Metrics` the fields ``model``,
            ``baselines`` and ``holdout``; None if nothing was measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    accepted: bool
    rules: tuple[RuleResult, ...]
    reason: str
    override: Override | None = None
    memory: Memory | None = None
    served: dict[str, Any] | None = None
    measured: dict[str, Any] | None = None

    def to_json(self) -> str:
        """Returns the decision as it is stored in the ledger."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Decision:
        """Reads a stored decision; raises pydantic.ValidationError if it is invalid."""
        return cls.model_validate_json(text)


def judge(
    candidate: JudgedMetrics,
    champion: JudgedMetrics | None,
    settings: GateSettings,
    past: Sequence[PastPromotion] = (),
) -> Decision:
    """Compares a candidate with absolute limits, baselines and the champion, also by slice.

    If a metric of the candidate or the champion is missing or invalid, every rule that needs it
    fails. docs/adr/0008-the-gate.md gives the reasons for the rules.

    Args:
        candidate: the result of `judged_metrics`. Rules about unknown facts are left out.
        champion: the same for the champion. None for the first release: its slices are compared
            with the baselines instead.
        settings: the limits.
        past: changes of the champion, newest first, for the limits on what they lose together.
    """
    memory, since_the_best = remember(candidate, champion, past, settings)
    results = [
        trainer_metrics_agree(candidate),
        gate_rules.metrics_are_numbers(candidate),
        gate_rules.predictions_are_stars(candidate),
        *gate_rules.floors(candidate, settings),
        *gate_rules.leaks(candidate, settings),
        *served_model(candidate, settings),
        *served_tables(candidate, settings),
        gate_rules.movie_vectors(candidate, settings),
        data_rules.drift(candidate),
        *data_rules.vanished(candidate, settings),
        *(
            (
                not_a_copy(candidate, champion),
                *against_champion(candidate, champion, settings),
            )
            if champion is not None
            else ()
        ),
        *since_the_best,
        *slices(candidate, champion, settings),
        *time_holdout(candidate, champion, settings),
        *last_visit(candidate, champion, settings),
    ]
    evaluated = tuple(rule for rule in results if rule is not None)
    failures = [rule.reason for rule in evaluated if rule.binding and not rule.passed]
    compared = "there is no other champion" if champion is None else "no worse than the champion"
    return Decision(
        accepted=not failures,
        rules=evaluated,
        reason="; ".join(failures) if failures else f"every binding rule passed; {compared}",
        memory=memory,
        served=candidate.served.model_dump(mode="json") if candidate.served else None,
        measured=_listed(candidate),
    )


def _listed(candidate: JudgedMetrics) -> dict[str, Any] | None:
    """Returns the measured numbers that lists of releases show, without slices and intervals."""
    if candidate.measured is None:
        return None
    return {name: candidate.measured.get(name) for name in ("model", "baselines", "holdout")}


def override_decision(found: Decision | None, *, actor: str, reason: str) -> Decision:
    """Returns a person's acceptance that replaces the gate's decision and keeps its rules.

    Args:
        found: the gate's decision; None if there is none.
        actor: the person.
        reason: the person's reason.
    """
    return Decision(
        accepted=True,
        rules=found.rules if found else (),
        reason=f"override by {actor}: {reason}",
        override=Override(actor=actor, reason=reason, found=found.reason if found else None),
        served=found.served if found else None,
        measured=found.measured if found else None,
    )
