"""The gate: a pure function from metrics to a decision, with every rule, value and threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from recsys.contract import GOLDEN_FILE, Manifest
from recsys.gate import rules as gate_rules
from recsys.gate.champion import CONTENTS, against_champion, not_a_copy, slices
from recsys.gate.measures import Metrics, RuleResult
from recsys.gate.rules import (
    floors,
    leaks,
    metrics_are_numbers,
    movie_vectors,
    predictions_are_stars,
)
from recsys.gate.settings import GateSettings

__all__ = ["Decision", "Override", "RuleResult", "judge", "judged_metrics", "overridden"]


class Override(BaseModel):
    """Who promoted a release that the gate had not accepted, and why.

    Attributes:
        actor: a person.
        reason: why, in the person's words.
        found: what the gate had said; None if it had said nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    actor: str
    reason: str
    found: str | None


class Decision(BaseModel):
    """Accept or reject, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accepted: bool
    rules: tuple[RuleResult, ...]
    reason: str
    override: Override | None = None

    def to_json(self) -> str:
        """The decision as it is stored in the ledger."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Decision:
        """Reads a stored decision; raises pydantic.ValidationError if it is not one."""
        return cls.model_validate_json(text)


def judge(candidate: Metrics, champion: Metrics | None, settings: GateSettings) -> Decision:
    """Holds a candidate's metrics against floors, leaks, the champion, and slice by slice.

    A metric that is missing or no finite number fails every rule that needs it, the champion's
    metrics included: there is no decision without numbers. The rules and why they are so:
    docs/adr/0008-the-gate.md.

    Args:
        candidate: what `judged_metrics` makes of a release, or metrics as
            `recsys.evaluation.evaluate` returns them: rules about what else is served are then
            left out.
        champion: the champion's, likewise, with its ``release_id`` where that is known; None for
            the first release, which is held against the baselines slice by slice instead.
        settings: the limits.
    """
    rules = [
        metrics_are_numbers(candidate),
        predictions_are_stars(candidate),
        *floors(candidate, settings),
        *leaks(candidate, settings),
        movie_vectors(candidate, settings),
        gate_rules.drift(candidate),
        *(
            (
                not_a_copy(candidate, champion),
                *against_champion(candidate, champion, settings),
            )
            if champion is not None
            else ()
        ),
        *slices(candidate, champion, settings),
    ]
    held = tuple(rule for rule in rules if rule is not None)
    failed = [rule.reason for rule in held if rule.binding and not rule.passed]
    compared = "there is no other champion" if champion is None else "no worse than the champion"
    return Decision(
        accepted=not failed,
        rules=held,
        reason="; ".join(failed) if failed else f"every binding rule passed; {compared}",
    )


def judged_metrics(
    manifest: Manifest, tables: Mapping[str, Any], drift: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """All that the gate knows of a release: the manifest's metrics, and what is served with them.

    Args:
        manifest: the release's.
        tables: facts of its tables as the ledger holds them.
        drift: measures of drift from the champion's dataset, by name, where they are known.

    Returns:
        The metrics with ``release_id``; ``serving``; ``drift``; ``movie_vectors`` (their quality,
        where it was measured); and ``contents``: digests of what the site would be answered from.
        The model's own bytes hold the time when they were made, so its golden predictions stand
        for it.
    """
    facts = {name: one for name, one in tables.items() if isinstance(one, Mapping)}
    return {
        **manifest.metrics,
        "release_id": manifest.release_id,
        "serving": manifest.serving.model_dump(mode="json"),
        "drift": drift,
        "movie_vectors": facts.get("movie_vectors", {}).get("quality"),
        CONTENTS: {
            GOLDEN_FILE: manifest.artifact(GOLDEN_FILE).sha256,
            **{name: one.get("digest") for name, one in sorted(facts.items())},
        },
    }


def overridden(found: Decision | None, *, actor: str, reason: str) -> Decision:
    """The decision of a person against, or without, the gate's; its rules stay as found."""
    return Decision(
        accepted=True,
        rules=found.rules if found else (),
        reason=f"override by {actor}: {reason}",
        override=Override(actor=actor, reason=reason, found=found.reason if found else None),
    )
