"""Makes features from the zip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recsys import features
from recsys.contract import FeatureSettings
from recsys.object_store import ObjectStore, S3Settings


def preprocess(md5: str, s3: dict[str, Any], work: str) -> dict[str, Any]:
    """Writes validated, sorted, split parquet files to the store."""
    store = ObjectStore.connect(S3Settings.model_validate(s3))
    stats = features.generate_data_frames(md5, store, FeatureSettings(), Path(work))
    return {
        "interactions": stats.interactions,
        "users": stats.users,
        "rated_movies": stats.rated_movies,
        "quarantine": sum(sum(f.quarantine.values()) for f in stats.files.values()),
        "csv_rows": sum(f.rows for f in stats.files.values()),
        "sha256": stats.sha256,
    }
