"""A decision as a table of text, for logs."""

from __future__ import annotations

from recsys.gate.decision import Decision
from recsys.gate.measures import RuleResult

_HEAD = ("result", "rule", "value", "limit", "reason")


def decision_lines(decision: Decision) -> list[str]:
    """Returns the rules as the lines of a table with columns of equal width, the failed first."""
    rules = sorted(decision.rules, key=lambda rule: (rule.passed, not rule.binding))
    rows = [_HEAD, *(_row(rule) for rule in rules)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD) - 1)]
    return [_line(row, widths) for row in rows]


def _row(rule: RuleResult) -> tuple[str, ...]:
    result = "passed" if rule.passed else "FAILED" if rule.binding else "not binding"
    return result, rule.name, _number(rule.value), _number(rule.threshold), rule.reason


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    result, name, value, limit, reason = row
    return (
        f"{result:<{widths[0]}}  {name:<{widths[1]}}  {value:>{widths[2]}}  {limit:>{widths[3]}}  "
        f"{reason}"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
