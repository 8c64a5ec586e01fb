"""From metrics to a decision: pure functions, no I/O."""

from recsys.gate.decision import Decision, judge, override_decision
from recsys.gate.facts import ServedFacts, TableFacts
from recsys.gate.forward import (
    ForwardMetric,
    ForwardSettings,
    ForwardTest,
    better_release,
    consistency,
    coverage,
    decays,
    promised,
)
from recsys.gate.judged import JudgedMetrics, judged_metrics
from recsys.gate.losses import Loss
from recsys.gate.measured import NAME as MEASURED_RULE
from recsys.gate.measures import RuleResult
from recsys.gate.memory import Memory, PastPromotion
from recsys.gate.settings import GateSettings
from recsys.gate.table import decision_lines

__all__ = [
    "MEASURED_RULE",
    "Decision",
    "ForwardMetric",
    "ForwardSettings",
    "ForwardTest",
    "GateSettings",
    "JudgedMetrics",
    "Loss",
    "Memory",
    "PastPromotion",
    "RuleResult",
    "ServedFacts",
    "TableFacts",
    "better_release",
    "consistency",
    "coverage",
    "decays",
    "decision_lines",
    "judge",
    "judged_metrics",
    "override_decision",
    "promised",
]
