from .decision import (
    gate_candidate,
    reject_candidate,
    update_internal_hash,
    write_report,
)
from .features import (
    check_vectors,
    enable_vector_extension,
    fetch_dataset,
    generate_data_frames,
    load_movie_vectors,
    measure_drift,
)
from .forward import forward_test
from .forward_stars import Predict, Stars, ask_for_stars, predicted_by_verifier, predicted_here
from .replay_history import (
    SMALL,
    ReplayedDump,
    ReplaySettings,
    read_journal,
    replay_dump,
    replay_history,
)
from .replay_report import ReplayReport, report_replay
from .replay_trainer import SessionTrainer, trainer_session
from .reproduction import Reproduction, ReproductionVerdict, reproduce_release
from .run import Heartbeat, Run, Verdict, continue_build, data_is_new, keep_open_builds
from .training import (
    begin_training,
    check_candidate,
    container_secrets,
    load_towers,
    make_trainer_input,
    secrets,
    train_dl_model,
    verify_candidate,
)

__all__ = [
    "SMALL",
    "Heartbeat",
    "Predict",
    "ReplayReport",
    "ReplaySettings",
    "ReplayedDump",
    "Reproduction",
    "ReproductionVerdict",
    "Run",
    "SessionTrainer",
    "Stars",
    "Verdict",
    "ask_for_stars",
    "begin_training",
    "check_candidate",
    "check_vectors",
    "container_secrets",
    "continue_build",
    "data_is_new",
    "enable_vector_extension",
    "fetch_dataset",
    "forward_test",
    "gate_candidate",
    "generate_data_frames",
    "keep_open_builds",
    "load_movie_vectors",
    "load_towers",
    "make_trainer_input",
    "measure_drift",
    "predicted_by_verifier",
    "predicted_here",
    "read_journal",
    "reject_candidate",
    "replay_dump",
    "replay_history",
    "report_replay",
    "reproduce_release",
    "secrets",
    "train_dl_model",
    "trainer_session",
    "update_internal_hash",
    "verify_candidate",
    "write_report",
]
