"""Who predicts stars in a forward test: a process of this machine, or the verifier elsewhere.

The verifier predicts before the test, in a container or pod with the trainer's account. It gets the
newer pairs without their ratings, and its answers are sealed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import polars as pl

from recsys import contract, releases
from recsys.contract import RatingScale, TrainerInput
from recsys.errors import ArtifactError
from recsys.evaluation import check_parquet
from recsys.gate import ForwardSettings
from recsys.ledger import Release
from recsys.pipeline.forward_ratings import (
    PAIR,
    UntestableError,
    newer_ratings,
    releases_to_test,
)
from recsys.pipeline.run import Run
from recsys.pipeline.training import make_trainer_input
from recsys.scratch import scratch_folder
from recsys.services import Services

log = logging.getLogger(__name__)


class Predict(Protocol):
    """Predicts ratings with a model in a process that has Keras."""

    def __call__(
        self, model: Path, pairs: Path, predictions: Path, /, *, scale: RatingScale
    ) -> None:
        """Reads a model and a parquet of userId, movieId; writes it with the column prediction."""


Stars = Callable[[Services, Release, pl.DataFrame, Path], pl.DataFrame]
"""Returns userId, movieId and prediction of a release, in its scale, for pairs, whose ratings are
not used; gets an empty folder. Raises PermanentError if the release does not answer."""


def predicted_here(predict: Predict) -> Stars:
    """Returns the stars of a process on this machine, which gets three files and reaches no server.

    Args:
        predict: runs it.
    """

    def stars(
        services: Services, release: Release, pairs: pl.DataFrame, work: Path
    ) -> pl.DataFrame:
        manifest = release.complete_manifest
        artifact = manifest.artifact(contract.MODEL_FILE)
        model, asked, answered = (
            work / name for name in (contract.MODEL_FILE, "asked", "answered")
        )
        services.store.download(artifact.key, model, artifact.sha256)
        pairs.select(PAIR).write_parquet(asked)
        predict(model, asked, answered, scale=manifest.build.features.scale)
        return pl.read_parquet(answered)

    return stars


def predicted_by_verifier(run: Run) -> Stars:
    """Returns the stars that the verifier has written to the inbox of a run, see `ask_for_stars`.

    Args:
        run: the run with the new dataset.
    """

    def stars(
        services: Services, release: Release, pairs: pl.DataFrame, work: Path
    ) -> pl.DataFrame:
        path = work / "stars"
        path.write_bytes(
            releases.read_stars(services.store, run.release_id, run.run_nonce, release.release_id)
        )
        asked = work / "asked"
        key = contract.forward_pairs_key(run.build.features_prefix, release.release_id)
        services.store.download(key, asked)
        most = pl.scan_parquet(asked).select(pl.len()).collect().item()
        check_parquet(path, max_rows=most, of="what was asked for")
        scale = release.complete_manifest.build.features.scale
        return _checked(pl.read_parquet(path), pairs, scale)

    return stars


def ask_for_stars(services: Services, run: Run, settings: ForwardSettings) -> TrainerInput | None:
    """Writes which pairs the verifier shall predict; it runs before `forward_test`.

    Args:
        services: PostgreSQL and S3.
        run: the run, whose features exist.
        settings: what is tested.

    Returns:
        The verifier's input; None if there is nothing to predict.
    """
    asked = []
    with scratch_folder("forward") as work:
        wanted = releases_to_test(services, run, settings)
        interactions = work / contract.INTERACTIONS_FILE
        if wanted:
            key = run.build.features_key(contract.INTERACTIONS_FILE)
            services.store.download(key, interactions)
        for release in wanted:
            try:
                _, newer = newer_ratings(services, release, interactions, settings)
            except UntestableError as problem:
                log.info("release %s predicts nothing: %s", release.release_id, problem)
                continue
            newer.select(PAIR).write_parquet(work / "pairs")
            prefix = run.build.features_prefix
            key = contract.forward_pairs_key(prefix, release.release_id)
            services.store.put_file(key, work / "pairs")
            asked.append(release.release_id)
    if not asked:
        return None
    made = make_trainer_input(services, run, run.run_nonce)
    seal = releases.expect_stars(services.store, run.release_id)
    return made.model_copy(update={"seal": seal, "forward": tuple(asked)})


def _checked(stars: pl.DataFrame, pairs: pl.DataFrame, scale: RatingScale) -> pl.DataFrame:
    """Returns stars for all pairs; raises ArtifactError if some are missing or no stars."""
    try:
        stars = stars.select(
            *(pl.col(name).cast(pairs[name].dtype) for name in PAIR),
            pl.col("prediction").cast(pl.Float32),
        )
        answered = pairs.select(PAIR).join(stars.unique(PAIR), on=PAIR, how="left")["prediction"]
    except pl.exceptions.PolarsError as error:
        raise ArtifactError(
            "the verifier's stars have another form", found=str(error)[:200]
        ) from error
    valid = answered.is_between(scale.min, scale.max).fill_null(value=False)
    if not valid.all():
        raise ArtifactError(
            "the verifier's stars are incomplete",
            found=f"stars for {int(valid.sum())} pairs",
            expected=f"{pairs.height} pairs",
            hint="read the log of predict_newer_ratings",
        )
    return stars
