from .approval import ApprovalRequest, ComparedMetric, compared_metrics, read_approval_request
from .connections import (
    CHECKS_FOLDER,
    Attempt,
    ConnectionCheck,
    bucket_probe,
    check_connection,
    check_services,
    database_probe,
    trainer_probe,
)
from .dataset_statistics import summarize_files, summarize_stats
from .doctor import problems, warnings
from .inventory import take_inventory
from .ledger_metrics import measure_ledger
from .lineage import LineageDataset, step_lineage
from .metrics import (
    Measurement,
    MetricType,
    SwitchTimer,
    decision_measurements,
    drift_measurements,
    feature_measurements,
    fetch_measurements,
    verdict_measurements,
)
from .overview import ReleaseQuery, ReleaseSummary, read_overview
from .status import check_freshness, read_status, release_facts, why

__all__ = [
    "CHECKS_FOLDER",
    "ApprovalRequest",
    "Attempt",
    "ComparedMetric",
    "ConnectionCheck",
    "LineageDataset",
    "Measurement",
    "MetricType",
    "ReleaseQuery",
    "ReleaseSummary",
    "SwitchTimer",
    "bucket_probe",
    "check_connection",
    "check_freshness",
    "check_services",
    "compared_metrics",
    "database_probe",
    "decision_measurements",
    "drift_measurements",
    "feature_measurements",
    "fetch_measurements",
    "measure_ledger",
    "problems",
    "read_approval_request",
    "read_overview",
    "read_status",
    "release_facts",
    "step_lineage",
    "summarize_files",
    "summarize_stats",
    "take_inventory",
    "trainer_probe",
    "verdict_measurements",
    "warnings",
    "why",
]
