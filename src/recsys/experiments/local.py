"""The data scientist's loop: a dataset in, a trained and measured model out, without any server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import recsys
from recsys import contract
from recsys.contract import FeatureSettings, Metrics
from recsys.dataset import Progress, obtain_dataset, open_dataset
from recsys.errors import ArtifactError, DatasetError
from recsys.features import make_features
from recsys.trainer_process import LocalTrainer

if TYPE_CHECKING:
    from recsys.object_store import S3Settings

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
    metrics: Metrics
    history: dict[str, Any]
    lineage: dict[str, Any]

    @property
    def fit_s(self) -> float | None:
        """Seconds of fitting what was evaluated, where the trainer recorded them."""
        recorded = self.lineage.get("fit_s")
        return sum(recorded.values()) if isinstance(recorded, dict) else recorded


def find_trainer() -> LocalTrainer:
    """The trainer beside this package's sources; ``RECSYS_ROOT``, ``RECSYS_TRAINER_PYTHON``."""
    root = Path(os.environ.get("RECSYS_ROOT") or Path(recsys.__file__).resolve().parents[2])
    python = os.environ.get("RECSYS_TRAINER_PYTHON") or root / "trainer/.venv/bin/python"
    return LocalTrainer(python=Path(python), root=root)


def make_local_features(
    source: str,
    folder: Path,
    settings: FeatureSettings,
    progress: Progress,
    s3: S3Settings | None = None,
) -> None:
    """Writes the features of a dataset to a folder, as the pipeline makes them.

    Args:
        source: see `recsys.dataset.obtain_dataset`.
        folder: gets the features, and the zip if it is downloaded.
        settings: settings of the features.
        progress: called with the bytes done and the total.
        s3: endpoint and credentials of an s3 source.
    """
    dataset = obtain_dataset(source, folder, s3=s3, progress=progress)
    with open_dataset(dataset.path) as archive:
        make_features(archive, dataset.md5, settings, folder, progress)


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
    metrics = Metrics.from_json(_read(folder, contract.METRICS_FILE))
    history, lineage = (
        _read_json(folder, name) for name in (contract.HISTORY_FILE, contract.LINEAGE_FILE)
    )
    return Trained(folder, metrics, history, lineage)


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(_read(folder, name))
    except ValueError as error:
        raise _unreadable(folder, name, error) from error
    return value


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise _unreadable(folder, name, error) from error


def _unreadable(folder: Path, name: str, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"{name} of the training cannot be read", found=str(error), expected=str(folder)
    )
