"""`FEATURES_REVISION` is raised whenever the code makes other features of the same dataset."""

from __future__ import annotations

from recsys.contract import FEATURES_REVISION
from tests.golden_features import compute, differences, other_inputs, read_record

_RECORD_AGAIN = "record the features with `python -m tests.golden_features`"


def test_other_features_have_another_revision() -> None:
    record, computed = read_record(), compute()
    assert record["revision"] == FEATURES_REVISION, (
        f"FEATURES_REVISION is {FEATURES_REVISION}, recorded is {record['revision']}: "
        + _RECORD_AGAIN
    )
    changed = differences(record["datasets"], computed)
    assert not changed, (
        f"the features of the same dataset have changed ({'; '.join(changed)}), so those in the "
        "object store would be out of date: raise FEATURES_REVISION in recsys/contract/build.py, "
        f"then {_RECORD_AGAIN}"
    )
    others = other_inputs(record["datasets"], computed)
    assert not others, f"this test's datasets have changed ({', '.join(others)}): {_RECORD_AGAIN}"
