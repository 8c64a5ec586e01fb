"""A dataset whose ratings are 1 to 10, from its zip to a release that answers in 1 to 10."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys import contract, ledger, pipeline, recommend, releases, reports
from recsys.contract import BuildSettings, FeatureSettings, RatingScale, TrainerSettings
from recsys.dataset import write_sample
from recsys.errors import DatasetError, InvalidRatingError
from recsys.experiments import find_trainer
from recsys.features import DriftSettings
from recsys.gate import GateSettings
from recsys.pipeline import SMALL, Run, trainer_session
from recsys.services import Services
from tests.actors import an_actor

TEN = RatingScale(min=1, max=10)
LENIENT_ON_LISTS = GateSettings(min_ndcg_over_popularity=-0.1, min_coverage_over_popularity=0.5)
"""A tower that is fitted for a second is no better than popularity; all other limits are usual."""


@pytest.fixture(scope="module")
def zip_of_ten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated sample, each of its ratings doubled."""
    folder = tmp_path_factory.mktemp("ten")
    write_sample(folder / "stars.zip", ratings=20_000, users=150, movies=400)
    made = folder / "ten.zip"
    with zipfile.ZipFile(folder / "stars.zip") as stars, zipfile.ZipFile(made, "w") as ten:
        for name in stars.namelist():
            content = stars.read(name)
            if name.endswith("ratings.csv"):
                rows = pl.read_csv(content).with_columns(
                    rating=(pl.col("rating") * 2).cast(pl.Int8)
                )
                content = rows.write_csv().encode()
            ten.writestr(name, content)
    md5 = hashlib.md5(made.read_bytes(), usedforsecurity=False).hexdigest()
    made.with_name("ten.zip.md5").write_text(md5)
    return made


def begin(services: Services, source: Path, settings: BuildSettings) -> Run:
    return pipeline.data_is_new(
        services,
        source=str(source),
        trainer_digest=find_trainer().digest(),
        settings=settings,
        run_id="the-run",
        force=True,
        actor=an_actor(),
    ).run


def test_without_its_scale_the_dataset_is_refused_and_the_setting_is_named(
    services: Services, zip_of_ten: Path
):
    run = begin(services, zip_of_ten, BuildSettings())
    pipeline.fetch_dataset(services, run)
    with pytest.raises(DatasetError, match="invalid") as refused:
        pipeline.generate_data_frames(services, run)
    assert "the scale seems to be 1 to 10" in refused.value.hint
    assert 'set features.scale to {"min": 1, "max": 10}' in refused.value.hint


def test_a_dataset_of_1_to_10_becomes_a_release_that_answers_in_its_scale(
    services: Services, zip_of_ten: Path
):
    settings = BuildSettings(
        features=FeatureSettings(scale=TEN), trainer=TrainerSettings(overrides=SMALL)
    )
    run = begin(services, zip_of_ten, settings)
    pipeline.fetch_dataset(services, run)
    stats = pipeline.generate_data_frames(services, run)
    assert (stats.profile.ratings["10.0"] > 0, 4 < stats.mean_rating < 9) == (True, True)
    pipeline.measure_drift(services, run, DriftSettings())
    pipeline.enable_vector_extension(services)
    pipeline.load_movie_vectors(services, run)
    pipeline.check_vectors(services, run)
    with trainer_session(find_trainer()) as trainer:
        pipeline.train_dl_model(services, run, trainer, lambda line: None)
        pipeline.verify_candidate(services, run, trainer, lambda line: None)
        pipeline.load_towers(services, run)
        decision = pipeline.gate_candidate(services, run, LENIENT_ON_LISTS)
        rules = {rule.name: rule for rule in decision.rules}
        assert rules["trainer_metrics_agree"].passed, rules["trainer_metrics_agree"].reason
        assert rules["predictions_are_stars"].passed
        assert "outside 1.0 to 10.0" in rules["predictions_are_stars"].reason
        # Half a star, as points of this scale.
        assert rules["served_model_is_the_evaluated"].threshold == 1.0
        assert decision.accepted, decision.reason
        releases.promote_release(services, run.release_id, actor=an_actor(), run_id=run.run_id)

        _, movies = recommend.recommend_for_user(services, 1, 300)
        movies = recommend.predict_stars(services, trainer, run.release_id, 1, movies)
        stars = np.array([movie.stars for movie in movies])
        assert stars.min() >= 1
        assert 5 < stars.max() <= 10

    with services.connect() as conn:
        manifest = ledger.get(conn, run.release_id).complete_manifest
        assert recommend.read_scale(conn, run.release_id) == TEN
    assert manifest.build.features.scale == TEN
    # The errors are those of ratings from 1 to 10: a constant, too, is off by more than in stars.
    model, baselines = manifest.metrics.model, manifest.metrics.baselines
    assert model.rmse is not None
    assert baselines.bias.rmse is not None
    assert baselines.global_mean.rmse is not None
    rated = pl.read_parquet(
        io.BytesIO(services.store.get_bytes(run.build.features_key(contract.INTERACTIONS_FILE)))
    )
    held = rated.filter(pl.col("split") == "holdout")["rating"].to_numpy().astype(np.float64)
    mean = rated.filter(pl.col("split") == "train")["rating"].mean()
    assert baselines.global_mean.rmse == pytest.approx(
        np.sqrt(np.mean((held - mean) ** 2)), rel=1e-4
    )
    assert model.rmse < baselines.bias.rmse < baselines.global_mean.rmse
    assert [row.stars for row in manifest.metrics.calibration or ()] == list(TEN.steps())

    first, second = rated["movieId"].value_counts(sort=True)["movieId"].head(2).to_list()
    ratings = [(str(first), 10.0), (str(second), 2.0)]
    _, named, found = recommend.recommend_for_cold_start(services, ratings, 5)
    assert [movie.score for movie in named] == [10.0, 2.0]
    assert len(found) == 5
    with pytest.raises(InvalidRatingError, match="outside of the scale"):
        recommend.recommend_for_cold_start(services, [(str(first), 11.0)], 5)

    report = reports.make_report(services, run.release_id)
    html = services.store.get_bytes(report).decode()
    assert "Predicts the rating (1 to 10)" in html
    assert "on a scale of 1 to 10" in html
