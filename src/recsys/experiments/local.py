"""The data scientist's loop: a dataset in, a trained and measured model out, without any server."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import recsys
from recsys import contract
from recsys.contract import FeatureSettings
from recsys.dataset import (
    ArchiveLimits,
    Download,
    FetchSettings,
    Progress,
    Source,
    find_sources,
    first_that_works,
    open_dataset,
    read_source_md5,
)
from recsys.errors import ArtifactError, DatasetError
from recsys.features import make_features
from recsys.trainer_process import LocalTrainer

FEATURES: Final = (contract.INTERACTIONS_FILE, contract.MOVIES_FILE)


@dataclass(frozen=True)
class Trained:
    """What a local training wrote.

    Attributes:
        folder: the artifacts under their names.
        metrics: see `recsys.evaluation.evaluate`.
        history: the training curves.
        lineage: what it was made of.
    """

    folder: Path
    metrics: dict[str, Any]
    history: dict[str, Any]
    lineage: dict[str, Any]

    @property
    def fit_s(self) -> float | None:
        """Seconds of fitting what was evaluated, where the trainer recorded them."""
        recorded = self.metrics.get("fit_s") or self.lineage.get("fit_s")
        return sum(recorded.values()) if isinstance(recorded, dict) else recorded


def find_trainer() -> LocalTrainer:
    """The trainer beside this package's sources; ``RECSYS_ROOT``, ``RECSYS_TRAINER_PYTHON``."""
    root = Path(os.environ.get("RECSYS_ROOT") or Path(recsys.__file__).resolve().parents[2])
    python = os.environ.get("RECSYS_TRAINER_PYTHON") or root / "trainer/.venv/bin/python"
    return LocalTrainer(python=Path(python), root=root)


def obtain_dataset(source: str, folder: Path, progress: Progress) -> tuple[Path, str]:
    """The zip of a dataset as a file, and its md5.

    A path is read where it is, and needs no md5 beside it; anything else is fetched to ``folder``
    and must have the md5 that its source publishes.

    Raises:
        DatasetError: there is no such file, or its md5 is another.
        SourceUnreachableError: the source does not answer.
    """
    if "://" not in source:
        path = Path(source).expanduser()
        if not path.is_file():
            raise DatasetError(
                "there is no such dataset", found=source, expected="a zip in MovieLens format"
            )
        with path.open("rb") as file:
            return path, hashlib.file_digest(file, _md5).hexdigest()
    md5 = read_source_md5(source)
    path = folder / contract.DATASET_FILE
    settings = FetchSettings()

    def fetch(one: Source) -> Download:
        with path.open("wb") as file:
            limit = ArchiveLimits().max_archive_bytes
            download = Download(one, file, limit, settings, progress)
            download.complete()
        return download

    found = first_that_works(find_sources(source, settings, None), fetch).md5
    if found != md5:
        raise DatasetError(
            "the dataset does not have the md5 that was published for it",
            found=found,
            expected=md5,
            hint="publish a matching pair",
        )
    return path, md5


def make_local_features(
    source: str, folder: Path, settings: FeatureSettings, progress: Progress
) -> None:
    """Writes the features of a dataset to a folder, as the pipeline would make them."""
    path, md5 = obtain_dataset(source, folder, progress)
    with open_dataset(path) as archive:
        make_features(archive, md5, settings, folder, progress)


def check_features(folder: Path) -> None:
    """Raises DatasetError unless the folder holds what the trainer reads."""
    missing = [name for name in FEATURES if not (folder / name).is_file()]
    if missing:
        raise DatasetError(
            "the folder does not hold features",
            found=f"{folder} lacks {', '.join(missing)}",
            expected=", ".join(FEATURES),
            hint="--source makes them from a dataset's zip",
        )


def train_locally(
    features: Path,
    out: Path,
    *,
    seed: int,
    assignments: Sequence[str] = (),
    champion: Path | None = None,
    refit: bool = True,
    on_line: Callable[[str], None],
) -> Trained:
    """Runs the trainer as a process of its own environment, and reads what it wrote.

    Args:
        features: holds `FEATURES`.
        out: gets a release's files.
        seed: of everything random.
        assignments: like ``rating.epochs=12``.
        champion: the ``out`` of an earlier training, or the files of a release.
        refit: whether it is fitted again to all interactions, for serving.
        on_line: told what the trainer prints.

    Raises:
        ConfigurationError: the trainer's environment is missing.
        TrainingError: it refused its input or failed.
        TransientError: it was killed, or ran out of something.
        ArtifactError: it did not write what it should.
    """
    arguments = ["local", "--features", str(features), "--out", str(out), "--seed", str(seed)]
    for assignment in assignments:
        arguments += ["--set", assignment]
    if champion:
        arguments += ["--champion", str(champion)]
    if not refit:
        arguments.append("--no-refit")
    find_trainer().run_command(arguments, on_line=on_line)
    return read_trained(out)


def read_trained(folder: Path) -> Trained:
    """What an earlier local training wrote; raises ArtifactError if it cannot be read."""
    read: list[dict[str, Any]] = []
    for name in (contract.METRICS_FILE, contract.HISTORY_FILE, contract.LINEAGE_FILE):
        try:
            read.append(json.loads((folder / name).read_bytes()))
        except (OSError, ValueError) as error:
            raise ArtifactError(
                f"{name} of the training cannot be read", found=str(error), expected=str(folder)
            ) from error
    return Trained(folder, *read)


def _md5() -> Any:
    # It names a dataset and guards against accidents, not against people.
    return hashlib.md5(usedforsecurity=False)
