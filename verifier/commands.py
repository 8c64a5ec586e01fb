"""The commands of the verifier; each is a function of store, input and environment."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from recsys import contract
from recsys.contract import RatingScale, TrainerInput

if TYPE_CHECKING:
    from recsys.object_store import ObjectStore

log = logging.getLogger(__name__)


def verify_candidate(
    store: ObjectStore,
    trainer_input: TrainerInput,
    environ: Mapping[str, str],
    *,
    second_backend: bool = True,
) -> None:
    """Checks and measures a stored candidate; see `verifier.candidate` and `verifier.measure`.

    The measurement is written to the inbox of the run if there is a key to seal it with.

    Args:
        store: the object store.
        trainer_input: names the candidate.
        environ: read for the code's revision only.
        second_backend: whether a model that needs no particular backend is checked on a second
            one, too. False only where the same code has made a model that was.

    Raises:
        ArtifactError: the candidate is missing, invalid or another run's.
        EvaluationError: its answers cannot be evaluated.
    """
    # Importing Keras takes seconds: nothing above imports it.
    from verifier.candidate import load_served_model, read_candidate
    from verifier.measure import measure

    candidate = read_candidate(store, trainer_input)
    with TemporaryDirectory(prefix="recsys-verify-") as work:
        served = load_served_model(
            store, candidate.manifest, Path(work), second_backend=second_backend
        )
        measured = measure(store, trainer_input, candidate, served, Path(work), environ)
    log.info(
        "measured on the holdout: %s; the served model: %s",
        json.dumps(measured.metrics.model.values()),
        measured.served.model_dump_json(),
    )
    if trainer_input.seal is None:
        log.info("no key of a seal was given: the measurement is not stored")
        return
    key = trainer_input.inbox_key(contract.MEASURED_FILE)
    store.put_bytes(key, contract.seal(measured.to_json(), trainer_input.seal))
    log.info("wrote %s", key)


def predict_newer(store: ObjectStore, trainer_input: TrainerInput) -> None:
    """Predicts newer ratings with served releases; see `verifier.forward.predict_newer`."""
    from verifier import forward

    forward.predict_newer(store, trainer_input)


def predict_file(model: Path, pairs: Path, predictions: Path, scale: RatingScale) -> None:
    """Predicts stars with a model's file; see `verifier.forward.predict_file`."""
    from verifier import forward

    forward.predict_file(model, pairs, predictions, scale)
