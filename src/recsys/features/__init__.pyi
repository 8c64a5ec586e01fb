from .csv_reader import read_movies, read_ratings
from .drift import Drift, check_drift, find_drift_breaches, read_drift
from .drift_measurement import measure_drift
from .drift_settings import DriftSettings
from .erased_users import ErasedUsers, whole_numbers
from .generate import are_whole, download_dataset, generate_data_frames, make_features
from .interactions import INTERACTION_SCHEMA, resolve_duplicates
from .quarantine import Examples, NoValidRowsError, Quarantine, check_shares
from .replay import Replay, replay_quarantine
from .reuse import find_features
from .rules import Rule
from .split import SPLIT
from .stats import FileStats, Stats, read_stats
from .trainable import check_trainable
from .validation import QUARANTINE_SCHEMA, with_ids

__all__ = [
    "INTERACTION_SCHEMA",
    "QUARANTINE_SCHEMA",
    "SPLIT",
    "Drift",
    "DriftSettings",
    "ErasedUsers",
    "Examples",
    "FileStats",
    "NoValidRowsError",
    "Quarantine",
    "Replay",
    "Rule",
    "Stats",
    "are_whole",
    "check_drift",
    "check_shares",
    "check_trainable",
    "download_dataset",
    "find_drift_breaches",
    "find_features",
    "generate_data_frames",
    "make_features",
    "measure_drift",
    "read_drift",
    "read_movies",
    "read_ratings",
    "read_stats",
    "replay_quarantine",
    "resolve_duplicates",
    "whole_numbers",
    "with_ids",
]
