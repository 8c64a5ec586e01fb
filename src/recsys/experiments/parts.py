"""Trainings for one model only: the other one is trained as short as possible, and not reported.

The trainer always writes a whole release, so the other model must exist. Its metrics mean nothing
and are removed; what the gate would say about it is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from recsys.contract import Metrics, Scores
from recsys.experiments.names import Part
from recsys.gate import Decision

SHORTEST: Final[Mapping[Part, tuple[str, ...]]] = {
    Part.RATING: ("rating.epochs=1", "rating.members=1", "rating.samples=0"),
    Part.RANKING: ("ranking.epochs=1",),
}
"""Settings for the shortest training of a part."""
_NAMES: Final[Mapping[Part, frozenset[str]]] = {
    Part.RATING: frozenset({"rmse", "mae", "calibration"}),
    Part.RANKING: frozenset(
        field.alias or name
        for name, field in Scores.model_fields.items()
        if name not in ("rmse", "mae")
    ),
}
_RULES: Final[Mapping[Part, tuple[str, ...]]] = {
    Part.RATING: ("rmse", "stars", "served_model"),
    Part.RANKING: ("ndcg", "coverage", "vectors"),
}
"""Words in the names of the gate's rules about a part; other rules are about both."""


def metrics_of_part(metrics: Metrics, part: Part) -> Metrics:
    """Returns the metrics without those of the other model; baselines keep all of theirs."""
    document = _without(metrics.model_dump(mode="json", by_alias=True), _NAMES[part.other])
    return Metrics.model_validate(document)


def scores_of_part(scores: Mapping[str, Any], part: Part) -> dict[str, Any]:
    """Returns the metrics of one model without those that the other part determines."""
    return {name: value for name, value in scores.items() if name not in _NAMES[part.other]}


def decision_on_part(decision: Decision, part: Part) -> Decision:
    """Returns the decision with the rules about one part only; its reason says so."""
    rules = tuple(
        rule for rule in decision.rules if not any(word in rule.name for word in _RULES[part.other])
    )
    failures = [rule.reason for rule in rules if rule.binding and not rule.passed]
    found = "; ".join(failures) or f"every binding rule about {part} passed"
    return decision.model_copy(
        update={
            "accepted": not failures,
            "rules": rules,
            "reason": f"partial, because only {part} was trained: {found}",
        }
    )


def _without(value: Any, names: frozenset[str]) -> Any:
    """Removes metrics from nested objects; ``rmse - bias`` belongs to ``rmse``."""
    if isinstance(value, list):
        return [_without(one, names) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: one if name == "baselines" else _without(one, names)
        for name, one in value.items()
        if name.partition(" ")[0] not in names
    }
