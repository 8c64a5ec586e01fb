"""Trains and measures a model from a dataset on this machine, without any server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import recsys
from recsys import contract
from recsys.contract import FeatureSettings, Metrics, RatingScale
from recsys.dataset import Progress, obtain_dataset, open_dataset
from recsys.errors import ArtifactError, DatasetError
from recsys.experiments.names import Part
from recsys.experiments.parts import SHORTEST
from recsys.features import make_features
from recsys.trainer_process import LocalTrainer

if TYPE_CHECKING:
    from recsys.dataset import FetchSettings
    from recsys.object_store import S3Settings

FEATURES: Final = (contract.INTERACTIONS_FILE, contract.MOVIES_FILE)


@dataclass(frozen=True)
class Trained:
    """Results of a local training.

    Attributes:
        folder: folder with the artifacts under their names.
        metrics: see `recsys.evaluation.evaluate`.
        history: training curves.
        lineage: versions, seeds and inputs of the training.
    """

    folder: Path
    metrics: Metrics
    history: dict[str, Any]
    lineage: dict[str, Any]

    @property
    def fit_s(self) -> float | None:
        """Seconds to fit the evaluated models; None if the trainer did not record them."""
        recorded = self.lineage.get("fit_s")
        return sum(recorded.values()) if isinstance(recorded, dict) else recorded


def find_trainer() -> LocalTrainer:
    """Returns the trainer beside this package's sources.

    ``RECSYS_ROOT`` and ``RECSYS_TRAINER_PYTHON`` name another place.
    """
    root = Path(os.environ.get("RECSYS_ROOT") or Path(recsys.__file__).resolve().parents[2])
    python = os.environ.get("RECSYS_TRAINER_PYTHON") or root / "trainer/.venv/bin/python"
    return LocalTrainer(python=Path(python), root=root)


def make_local_features(
    source: str,
    folder: Path,
    settings: FeatureSettings,
    progress: Progress,
    s3: S3Settings | None = None,
    fetch: FetchSettings | None = None,
) -> str:
    """Writes the features of a dataset to a folder, as the pipeline makes them; returns its md5.

    Args:
        source: see `recsys.dataset.obtain_dataset`.
        folder: gets the features, and the zip if it is downloaded.
        settings: settings of the features.
        progress: called with the bytes done and the total.
        s3: endpoint and credentials of an s3 source.
        fetch: timeouts and credentials of the source; from the environment if not given.
    """
    dataset = obtain_dataset(
        source, folder, s3=s3, progress=progress, settings=fetch, columns=settings.columns
    )
    with open_dataset(dataset.path, columns=settings.columns) as archive:
        stats = make_features(archive, dataset.md5, settings, folder, progress)
    (folder / contract.STATS_FILE).write_bytes(stats.to_json())
    return dataset.md5


def write_scale(folder: Path, scale: RatingScale) -> None:
    """Writes the scale of the ratings of a folder, as the statistics of features name it."""
    settings = FeatureSettings(scale=scale).model_dump(mode="json")
    (folder / contract.STATS_FILE).write_text(json.dumps({"settings": settings}))


def check_features(folder: Path) -> None:
    """Raises DatasetError unless the folder has the files that the trainer reads."""
    missing = [name for name in FEATURES if not (folder / name).is_file()]
    if missing:
        raise DatasetError(
            "the folder has no features",
            found=f"{folder} without {', '.join(missing)}",
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
    only: Part | None = None,
) -> Trained:
    """Runs the trainer as a process in its own environment and reads its results.

    Args:
        features: folder with the files of `FEATURES`.
        out: folder for the files of the release.
        seed: seed of all random numbers.
        assignments: settings like ``rating.epochs=12``.
        champion: the ``out`` of an earlier training, or the files of a release.
        refit: whether the models are fitted again to all interactions, for serving.
        on_line: called with each line that the trainer prints.
        only: train the other part as short as possible; its metrics then mean nothing, see
            `recsys.experiments.metrics_of_part`.

    Raises:
        ConfigurationError: the trainer's environment is missing.
        TrainingError: the trainer rejected its input or failed.
        TransientError: it was killed, or ran out of memory or disk.
        ArtifactError: an artifact is missing or unreadable.
    """
    arguments = ["local", "--features", str(features), "--out", str(out), "--seed", str(seed)]
    for assignment in (*(SHORTEST[only.other] if only else ()), *assignments):
        arguments += ["--set", assignment]
    if champion:
        arguments += ["--champion", str(champion)]
    if not refit:
        arguments.append("--no-refit")
    find_trainer().run_command(arguments, on_line=on_line)
    return read_trained(out)


def read_trained(folder: Path) -> Trained:
    """Reads the results of an earlier local training.

    Raises:
        ArtifactError: a file is missing or unreadable.
    """
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
