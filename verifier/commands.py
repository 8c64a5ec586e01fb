"""The commands of the verifier; each is a function of store, input and environment."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from recsys import contract
from recsys.contract import TrainerInput

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


def predict_file(model: Path, pairs: Path, predictions: Path) -> None:
    """Predicts stars with a served model for the pairs of a file.

    Args:
        model: the model's file.
        pairs: parquet with userId, movieId.
        predictions: the parquet to write: the pairs, and prediction (stars).

    Raises:
        ArtifactError: the model does not load, or does not predict stars.
    """
    import polars as pl

    from verifier.models import load_model, predict_stars

    asked = pl.read_parquet(pairs, columns=["userId", "movieId"])
    stars = predict_stars(
        load_model(model, contract.MODEL_FILE),
        asked["userId"].to_numpy(),
        asked["movieId"].to_numpy(),
    )
    asked.with_columns(prediction=pl.Series(stars)).write_parquet(predictions)
    log.info("predicted %d newer ratings", asked.height)
