"""Verifies a model on Keras' NumPy backend too, in a process of its own.

A process has one backend, and the one that verifies has TensorFlow.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Final

from recsys.contract import ENV_SEAL, SECRET_ENV, STARS, GoldenPredictions, RatingScale
from recsys.errors import ArtifactError, TransientError

BACKEND: Final = "numpy"
"""The one that the reference site uses; the lightest."""
_REFUSED: Final = 1
_SECONDS: Final = 600


def check_on_second_backend(model: Path, golden: Path, scale: RatingScale = STARS) -> None:
    """Loads a model that needs no particular backend, and compares its golden predictions.

    Args:
        model: the model's file.
        golden: the golden predictions, as JSON.
        scale: of the ratings of the model's dataset.

    Raises:
        ArtifactError: the model does not load, or its predictions differ.
        TransientError: the process was killed, or did not end in time.
    """
    if importlib.util.find_spec("jax") is None:
        raise ArtifactError(
            f"the model cannot be verified on Keras' {BACKEND} backend",
            found="no jax in the verifier's environment, which that backend imports",
            hint="install jax beside the trainer's keras; trainer/uv.lock has both",
        )
    secret = {*SECRET_ENV, ENV_SEAL}
    environment = {name: value for name, value in os.environ.items() if name not in secret}
    # The verifier may have been started in another folder.
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])
    )
    try:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", __name__, str(model), str(golden), str(scale)],
            env={**environment, "JAX_PLATFORMS": "cpu"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise TransientError(
            f"Keras' {BACKEND} backend did not verify the model in time",
            found=f"no answer within {_SECONDS} s",
        ) from error
    if done.returncode < 0:
        raise TransientError(
            f"the verification on Keras' {BACKEND} backend was killed",
            found=f"signal {-done.returncode}",
            hint="usually there was too little memory",
        )
    if done.returncode:
        raise ArtifactError(
            f"the manifest says that any backend loads the model, but Keras' {BACKEND} does not",
            found=done.stderr.strip()[-2000:] or f"exit code {done.returncode}",
            expected="the golden predictions on both backends",
            hint="use layers that every backend has, or write requires_backend: tensorflow",
        )


class _WithoutTensorFlow(MetaPathFinder):
    """Refuses to import TensorFlow."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError("TensorFlow is not used here", name=fullname)


def choose_backend() -> None:
    """Makes this process one of the second backend; call it before Keras is imported."""
    # The package has set the trainer's backend. Keras reads it when it is imported.
    os.environ["KERAS_BACKEND"] = BACKEND
    # Where TensorFlow is installed, layers that need it work on any backend.
    sys.meta_path.insert(0, _WithoutTensorFlow())


def main() -> None:
    """Checks the model of the arguments; prints on standard error why it is refused."""
    choose_backend()
    from verifier.candidate import check_golden
    from verifier.models import load_model

    model, golden = map(Path, sys.argv[1:3])
    scale = RatingScale.parse(sys.argv[3])
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    try:
        recorded = GoldenPredictions.model_validate_json(golden.read_bytes())
        check_golden(load_model(model, model.name, recorded.keras_version), recorded, scale)
    except ArtifactError as error:
        print(error, file=sys.stderr)
        sys.exit(_REFUSED)


if __name__ == "__main__":
    main()
