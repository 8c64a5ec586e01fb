from .comparison import compare_models
from .history import Dump, Fault, History, plan_faults, spoil
from .local import check_features, find_trainer, make_local_features, train_locally
from .names import ModelName, Objective, Part, SplitName
from .parts import metrics_of_part
from .runs import (
    LESS_IS_BETTER,
    NEITHER_IS_BETTER,
    ComparedRuns,
    LocalRun,
    compare_runs,
    find_run,
    keep_run,
    list_runs,
    local_verdict,
)
from .splits import read_in_file_order
from .tuning import choose_settings, measure_trial, plan_trials, tune, with_overrides

__all__ = [
    "LESS_IS_BETTER",
    "NEITHER_IS_BETTER",
    "ComparedRuns",
    "Dump",
    "Fault",
    "History",
    "LocalRun",
    "ModelName",
    "Objective",
    "Part",
    "SplitName",
    "check_features",
    "choose_settings",
    "compare_models",
    "compare_runs",
    "find_run",
    "find_trainer",
    "keep_run",
    "list_runs",
    "local_verdict",
    "make_local_features",
    "measure_trial",
    "metrics_of_part",
    "plan_faults",
    "plan_trials",
    "read_in_file_order",
    "spoil",
    "train_locally",
    "tune",
    "with_overrides",
]
