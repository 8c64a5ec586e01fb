from .authority import check_person
from .diff import K, ReleaseDiff, compare, ids, relation, sentinels
from .evaluated_files import fetch_evaluated, live_release
from .promotion import Change, promote_release, rehearse, roll_back
from .public_copies import in_order
from .public_names import live_tables, names_are_found
from .recovery import recover_promotion
from .retirement import RetentionSettings, kept, retire_old_releases
from .verification import check_artifacts, check_manifest, check_release, read_manifest

__all__ = [
    "Change",
    "K",
    "ReleaseDiff",
    "RetentionSettings",
    "check_artifacts",
    "check_manifest",
    "check_person",
    "check_release",
    "compare",
    "fetch_evaluated",
    "ids",
    "in_order",
    "kept",
    "live_release",
    "live_tables",
    "names_are_found",
    "promote_release",
    "read_manifest",
    "recover_promotion",
    "rehearse",
    "relation",
    "retire_old_releases",
    "roll_back",
    "sentinels",
]
