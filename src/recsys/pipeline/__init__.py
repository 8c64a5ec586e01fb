"""The steps of one run, each a plain function that a task calls and a test calls without Airflow.

Every step can be repeated at any time with the same result: it looks first whether its work is
there already. A release that is complete never changes; a forced run judges it again.
"""

from recsys.pipeline.decision import (
    gate_candidate,
    reject_candidate,
    update_internal_hash,
    write_report,
)
from recsys.pipeline.features import (
    check_vectors,
    enable_vector_extension,
    fetch_dataset,
    generate_data_frames,
    load_movie_vectors,
    measure_drift,
)
from recsys.pipeline.run import Run, Verdict, data_is_new
from recsys.pipeline.training import (
    begin_training,
    check_candidate,
    load_towers,
    secrets,
    train_dl_model,
    trainer_input,
    verify_candidate,
)

__all__ = [
    "Run",
    "Verdict",
    "begin_training",
    "check_candidate",
    "check_vectors",
    "data_is_new",
    "enable_vector_extension",
    "fetch_dataset",
    "gate_candidate",
    "generate_data_frames",
    "load_movie_vectors",
    "load_towers",
    "measure_drift",
    "reject_candidate",
    "secrets",
    "train_dl_model",
    "trainer_input",
    "update_internal_hash",
    "verify_candidate",
    "write_report",
]
