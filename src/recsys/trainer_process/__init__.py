"""The trainer as a local process: its environment, its output, and that it never outlives us."""

from recsys.trainer_process.child import bound_to_parent, lines_of, run_child
from recsys.trainer_process.local_trainer import SHARED_MODULES, LocalTrainer, failure, log_line
from recsys.trainer_process.variables import (
    FORWARDED_VARIABLES,
    forwarded_variables,
    inherited_identity,
    inherited_variables,
    is_machine_variable,
)

__all__ = [
    "FORWARDED_VARIABLES",
    "SHARED_MODULES",
    "LocalTrainer",
    "bound_to_parent",
    "failure",
    "forwarded_variables",
    "inherited_identity",
    "inherited_variables",
    "is_machine_variable",
    "lines_of",
    "log_line",
    "run_child",
]
