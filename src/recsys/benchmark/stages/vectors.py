"""Computes movie vectors from features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recsys.contract import FeatureSettings
from recsys.object_store import ObjectStore, S3Settings
from recsys.vectors import make_movie_vectors


def vectors(md5: str, s3: dict[str, Any], work: str) -> dict[str, Any]:
    """Computes movie vectors from interactions in the store; writes them to a file."""
    store = ObjectStore.connect(S3Settings.model_validate(s3))
    made = make_movie_vectors(md5, store, FeatureSettings(), Path(work))
    np.savez(Path(work) / "vectors.npz", ids=made.ids, vectors=made.vectors)
    return {"movies": len(made.ids), "dim": int(made.vectors.shape[1])}
