"""From metrics to a decision: pure functions, no I/O."""

from recsys.gate.decision import Decision, judge, judged_metrics, overridden
from recsys.gate.measures import inner
from recsys.gate.settings import GateSettings

__all__ = ["Decision", "GateSettings", "inner", "judge", "judged_metrics", "overridden"]
