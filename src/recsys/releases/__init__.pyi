from .authority import check_person
from .diff import TOP_K, ReleaseDiff, choose_sentinels, compare_releases, table_ids
from .evaluated_files import champion_id, fetch_evaluated
from .promotion import ChampionChange, preview_promotion, promote_release, roll_back
from .public_copies import public_copies_match
from .public_names import live_tables, release_table, search_path_is_set
from .recovery import recover_promotion
from .retirement import RetentionSettings, releases_to_keep, retire_old_releases
from .verification import check_artifacts, check_release, check_run_manifest, read_manifest

__all__ = [
    "TOP_K",
    "ChampionChange",
    "ReleaseDiff",
    "RetentionSettings",
    "champion_id",
    "check_artifacts",
    "check_person",
    "check_release",
    "check_run_manifest",
    "choose_sentinels",
    "compare_releases",
    "fetch_evaluated",
    "live_tables",
    "preview_promotion",
    "promote_release",
    "public_copies_match",
    "read_manifest",
    "recover_promotion",
    "release_table",
    "releases_to_keep",
    "retire_old_releases",
    "roll_back",
    "search_path_is_set",
    "table_ids",
]
