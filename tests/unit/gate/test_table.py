"""A decision as a table in a task's log."""

from __future__ import annotations

from recsys.gate import Decision, decision_lines
from recsys.gate.measures import RuleResult


def rule(name: str, value: float | None, *, passed: bool, binding: bool = True) -> RuleResult:
    return RuleResult(
        name=name,
        value=value,
        threshold=None if value is None else 0.5,
        passed=passed,
        reason=f"about {name}",
        binding=binding,
    )


def test_failed_rules_come_first_and_columns_are_aligned() -> None:
    rules = (
        rule("coverage", 12.25, passed=True),
        rule("drift", 0.3, passed=False, binding=False),
        rule("rmse_against_champion", None, passed=False),
    )
    decision = Decision(accepted=False, rules=rules, reason="r")
    assert decision_lines(decision) == [
        "result       rule                     value   limit  reason",
        "FAILED       rmse_against_champion        -       -  about rmse_against_champion",
        "not binding  drift                   0.3000  0.5000  about drift",
        "passed       coverage               12.2500  0.5000  about coverage",
    ]


def test_a_decision_without_rules_has_a_head_only() -> None:
    assert decision_lines(Decision(accepted=True, rules=(), reason="r")) == [
        "result  rule  value  limit  reason"
    ]
