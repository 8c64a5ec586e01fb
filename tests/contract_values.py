"""Values of the contract for tests: fixed ones, and strategies that make any."""

from __future__ import annotations

from typing import Any

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recsys import contract
from recsys.contract import (
    REQUIRED_ARTIFACTS,
    Build,
)

law = hypothesis_settings(deadline=None)  # a loaded machine is no failure

MD5 = "0123456789abcdef0123456789abcdef"
DIGEST = f"sha256:{'a' * 64}"
RELEASE = "01234567-89abcdef"

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
build_settings = st.dictionaries(st.text(max_size=8), json_values, max_size=5)
md5s = st.text("0123456789abcdef", min_size=32, max_size=32)
builds = st.builds(
    Build,
    dataset_md5=md5s,
    trainer_digest=st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format),
    settings=build_settings,
)
release_ids = builds.map(lambda build: build.release_id)


def build(**settings: Any) -> Build:
    return Build(dataset_md5=MD5, trainer_digest=DIGEST, settings=settings)


def reordered(value: Any) -> Any:
    """Returns the same JSON with the keys of every object in reverse order."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


OTHER = build(number=2)


def manifest_fields(made: Build | None = None) -> dict[str, Any]:
    """Returns a valid manifest as JSON."""
    made = made or build(number=1)
    return {
        "manifest_schema": 1,
        "release_id": made.release_id,
        "build": made.model_dump(mode="json"),
        "fingerprint": made.fingerprint,
        "run_nonce": "n" * 8,
        "artifacts": [
            {
                "name": name,
                "key": contract.release_key(made.release_id, name),
                "sha256": "0" * 64,
                "size": 1,
            }
            for name in sorted(REQUIRED_ARTIFACTS)
        ],
        "dims": {"movie_vectors": 128, "towers": 64},
        "serving": {"method": "refit", "interactions": 10, "shift_rmse": 0.1},
        "metrics": {"model": {"rmse": 0.8}},
        "lineage": {"keras": "3.15.0"},
        "created_at": "2026-01-01T00:00:00Z",
    }
