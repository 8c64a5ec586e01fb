"""Reads the features of a build: the truth that a candidate is measured by."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import polars as pl

from recsys import contract
from recsys.contract import Build
from recsys.errors import ArtifactError, DatasetError


class _Reader(Protocol):
    def download(self, key: str, path: Path, sha256: str | None = None) -> None: ...


def read_features(build: Build, store: _Reader, folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Reads the interactions and movies of a build; see `contract.INTERACTIONS_FILE`.

    Raises:
        DatasetError: a file is missing, or is not parquet.
    """
    frames = []
    for name in (contract.INTERACTIONS_FILE, contract.MOVIES_FILE):
        key = build.features_key(name)
        try:
            store.download(key, folder / name)
            frames.append(pl.read_parquet(folder / name))
        except ArtifactError as error:
            raise DatasetError(
                f"the features lack {name}",
                found=str(error),
                expected=key,
                hint="run generate_data_frames before the trainer",
            ) from error
        except pl.exceptions.PolarsError as error:
            raise DatasetError(
                f"{key} is not a valid parquet file",
                found=str(error),
                hint="make the features again",
            ) from error
    return frames[0], frames[1]
