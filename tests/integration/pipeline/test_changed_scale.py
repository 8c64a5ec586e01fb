"""A candidate whose ratings are 1 to 10, judged against a champion whose ratings are stars."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recsys import ledger, pipeline, releases, reports
from recsys.cli.app import app
from recsys.contract import BuildSettings, FeatureSettings, Metrics, TrainerSettings
from recsys.errors import DatasetError
from recsys.experiments import find_trainer
from recsys.features import DriftSettings
from recsys.gate import Decision
from recsys.pipeline import SMALL, Run, trainer_session
from recsys.services import Services
from tests.actors import an_actor
from tests.integration.pipeline.test_scale import LENIENT_ON_LISTS, TEN, begin, zip_of_ten

__all__ = ["zip_of_ten"]
STARS = BuildSettings(trainer=TrainerSettings(overrides=SMALL))
POINTS = STARS.model_copy(update={"features": FeatureSettings(scale=TEN)})


def make_features(services: Services, source: Path, settings: BuildSettings) -> Run:
    run = begin(services, source, settings)
    pipeline.fetch_dataset(services, run)
    pipeline.generate_data_frames(services, run)
    return run


def judge(services: Services, run: Run) -> Decision:
    pipeline.enable_vector_extension(services)
    pipeline.load_movie_vectors(services, run)
    pipeline.check_vectors(services, run)
    with trainer_session(find_trainer()) as trainer:
        pipeline.train_dl_model(services, run, trainer, lambda line: None)
        pipeline.verify_candidate(services, run, trainer, lambda line: None)
    pipeline.load_towers(services, run)
    return pipeline.gate_candidate(services, run, LENIENT_ON_LISTS)


def promote(services: Services, run: Run) -> Metrics:
    releases.promote_release(services, run.release_id, actor=an_actor(), run_id=run.run_id)
    with services.connect() as conn:
        return ledger.get(conn, run.release_id).complete_manifest.metrics


def test_a_champion_of_another_scale_is_compared_in_that_of_the_candidate(
    services: Services, zip_of_ten: Path, monkeypatch: pytest.MonkeyPatch
):
    stars = make_features(services, zip_of_ten.with_name("stars.zip"), STARS)
    assert judge(services, stars).accepted
    in_stars = promote(services, stars)

    refused = make_features(services, zip_of_ten, POINTS)
    with pytest.raises(DatasetError, match="psi_ratings") as drifted:
        pipeline.measure_drift(services, refused, DriftSettings())
    assert "changed from 0.5 to 5, to 1 to 10" in drifted.value.hint
    assert "accept_drift" in drifted.value.hint

    points = make_features(services, zip_of_ten, POINTS)
    pipeline.measure_drift(services, points, DriftSettings(accept=True))
    decision = judge(services, points)
    assert decision.accepted, decision.reason
    in_points = promote(services, points)

    # Each rating is twice the stars, and so are the errors; rankings are the same.
    rmse = in_stars.model.rmse
    assert rmse is not None
    champion = in_points.champion
    assert champion is not None
    assert champion.release_id == stars.release_id
    assert champion.rmse == pytest.approx(2 * rmse, rel=1e-3)
    assert champion.candidate.rmse == in_points.model.rmse
    assert champion.ndcg_10 == in_stars.model.ndcg_10
    rules = {rule.name: rule for rule in decision.rules}
    assert rules["rmse_against_champion"].threshold == pytest.approx(champion.rmse * 1.01, rel=1e-3)
    assert rules["rmse_against_champion"].binding
    html = services.store.get_bytes(reports.make_report(services, points.release_id)).decode()
    assert all(text in html for text in (f"{champion.rmse:.4f}", "1 to 10"))

    environment = {
        "RECSYS_PG_DSN": services.postgres.address(),
        "RECSYS_S3_BUCKET": services.s3.bucket,
        "RECSYS_S3_ENDPOINT": str(services.s3.endpoint),
        **services.s3.credentials(),
        "COLUMNS": "80",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    listed = CliRunner().invoke(app, ["releases"]).stdout
    lines = {line.split()[0]: " ".join(line.split()) for line in listed.splitlines()}
    assert f"{rmse:.4f} 0.5 to 5 " in lines[stars.release_id], "not to be compared with the next"
    assert f"{in_points.model.rmse:.4f} 1 to 10 " in lines[points.release_id]
    recommended = CliRunner().invoke(app, ["recommend", "--user", "1", "--stars"]).stdout
    title, header, first, *_ = (line for line in recommended.splitlines() if line.strip())
    assert points.release_id in title
    assert "of 10" in header
    found = CliRunner().invoke(app, ["recommend", "--user", "1", "--stars", "--json"])
    best = json.loads(found.stdout)["movies"][0]["stars"]
    assert 5 < best <= 10
    assert f" {best:.1f} " in f"{first} "
    [newest, *_] = json.loads(CliRunner().invoke(app, ["releases", "--json"]).stdout)
    assert newest["scale"] == {"min": 1, "max": 10}
