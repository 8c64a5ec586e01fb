from .authority import check_person
from .certificate import (
    OUT_OF_REACH,
    Search,
    SearchResult,
    certify,
    describe_search,
    search_everything,
    what_to_do,
)
from .deletion import delete_leftovers
from .diff import TOP_K, ReleaseDiff, choose_sentinels, compare_releases, table_ids
from .erasure import ErasureStatus, finish_erasures, request_erasure
from .evaluated_files import champion_id, fetch_evaluated
from .forward_stars import expect_stars, forget_stars, read_stars
from .hiding import erased_users, erased_users_of
from .inbox import admit_candidate, inbox_leftovers, is_trained
from .late_copies import recover_and_watch
from .lock import check_lock, promotion_lock
from .measurement import (
    accept_measurement,
    expect_measurement,
    find_measurement,
    read_measurement,
)
from .mlflow_export import Exported, export_to_mlflow
from .orphans import GRACE, Cleaning, Orphan, delete_orphans, find_orphans
from .ownership import (
    adopt_bucket,
    check_owner,
    check_unowned,
    claim_bucket,
    owner_of,
    public_content,
)
from .promotion import ChampionChange, preview_promotion, promote_release, roll_back
from .proof import Proof, ProofStep, StepResult, Verdict, prove_release
from .public_copies import public_copies_in_order, public_copies_match
from .public_names import dependents, live_tables, release_table, without_views
from .recovery import recover_promotion
from .retention import RetentionSettings
from .retirement import (
    Retirement,
    releases_to_keep,
    retire_old_releases,
)
from .served import measure_served
from .signature import find_signature
from .signers import Signed, note_signature, sign_candidate, sign_release
from .site_access import search_path_is_set, search_path_statement, site_problems
from .traces import own_group
from .verification import check_release, read_manifest

__all__ = [
    "GRACE",
    "OUT_OF_REACH",
    "TOP_K",
    "ChampionChange",
    "Cleaning",
    "ErasureStatus",
    "Exported",
    "Orphan",
    "Proof",
    "ProofStep",
    "ReleaseDiff",
    "RetentionSettings",
    "Retirement",
    "Search",
    "SearchResult",
    "Signed",
    "StepResult",
    "Verdict",
    "accept_measurement",
    "admit_candidate",
    "adopt_bucket",
    "certify",
    "champion_id",
    "check_lock",
    "check_owner",
    "check_person",
    "check_release",
    "check_unowned",
    "choose_sentinels",
    "claim_bucket",
    "compare_releases",
    "delete_leftovers",
    "delete_orphans",
    "dependents",
    "describe_search",
    "erased_users",
    "erased_users_of",
    "expect_measurement",
    "expect_stars",
    "export_to_mlflow",
    "fetch_evaluated",
    "find_measurement",
    "find_orphans",
    "find_signature",
    "finish_erasures",
    "forget_stars",
    "inbox_leftovers",
    "is_trained",
    "live_tables",
    "measure_served",
    "note_signature",
    "own_group",
    "owner_of",
    "preview_promotion",
    "promote_release",
    "promotion_lock",
    "prove_release",
    "public_content",
    "public_copies_in_order",
    "public_copies_match",
    "read_manifest",
    "read_measurement",
    "read_stars",
    "recover_and_watch",
    "recover_promotion",
    "release_table",
    "releases_to_keep",
    "request_erasure",
    "retire_old_releases",
    "roll_back",
    "search_everything",
    "search_path_is_set",
    "search_path_statement",
    "sign_candidate",
    "sign_release",
    "site_problems",
    "table_ids",
    "what_to_do",
    "without_views",
]
