from .dataset_statistics import summarize_stats
from .doctor import problems
from .ledger_metrics import measure_ledger
from .lineage import Place, step_lineage
from .metrics import (
    Kind,
    Measurement,
    SwitchTimes,
    of_decision,
    of_drift,
    of_features,
    of_fetch,
    of_verdict,
)
from .overview import ReleaseLine, read_overview
from .status import check_freshness, read_status, release_facts, why

__all__ = [
    "Kind",
    "Measurement",
    "Place",
    "ReleaseLine",
    "SwitchTimes",
    "check_freshness",
    "measure_ledger",
    "of_decision",
    "of_drift",
    "of_features",
    "of_fetch",
    "of_verdict",
    "problems",
    "read_overview",
    "read_status",
    "release_facts",
    "step_lineage",
    "summarize_stats",
    "why",
]
