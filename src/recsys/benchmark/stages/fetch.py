"""Fetches the zip into the store."""

from __future__ import annotations

from typing import Any

from recsys import dataset
from recsys.object_store import ObjectStore, S3Settings


def fetch(source: str, md5: str, s3: dict[str, Any]) -> dict[str, Any]:
    """Downloads, hashes and stores the zip."""
    store = ObjectStore.connect(S3Settings.model_validate(s3))
    return {"bytes": dataset.fetch_dataset(source, md5, store).size}
