"""From metrics to a decision: pure functions, no I/O."""

from recsys.gate.decision import Decision, judge, override_decision
from recsys.gate.judged import JudgedMetrics, judged_metrics
from recsys.gate.settings import GateSettings

__all__ = [
    "Decision",
    "GateSettings",
    "JudgedMetrics",
    "judge",
    "judged_metrics",
    "override_decision",
]
