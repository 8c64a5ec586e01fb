"""The champion is evaluated only on pairs it was not trained on, and never fails a candidate."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from recsys import contract
from recsys.contract import ExitCode, Manifest, TrainerInput
from recsys.errors import ArtifactError
from recsys.evaluation import EvaluatedRelease
from tests.trainer.conftest import NO_RELEASE, Bench, make_interactions, with_split
from trainer.__main__ import main
from verifier.champion import fetch_champion, load_champion

Tables = tuple[pl.DataFrame, pl.DataFrame]
PAIR = ["userId", "movieId"]
OLD, NEW = "a1" * 16, "b2" * 16


@pytest.fixture(scope="module")
def old_tables() -> Tables:
    """An older dataset: each user's first two thirds, without the newest movies."""
    interactions, movies = make_interactions()
    place = pl.int_range(pl.len()).over("userId")
    rows = interactions.filter(place < 20)
    return with_split(rows.drop("split"), 0.2), movies.head(147)


@pytest.fixture(scope="module")
def old_release(bench: Bench, old_tables: Tables) -> TrainerInput:
    bench.put_features(*old_tables, md5=OLD)
    trainer_input = bench.input(md5=OLD)
    assert main([], bench.environment(trainer_input)) == ExitCode.OK
    bench.admit(trainer_input)
    return trainer_input


@pytest.fixture
def champion(
    bench: Bench, old_release: TrainerInput, tmp_path_factory: pytest.TempPathFactory
) -> EvaluatedRelease:
    folder = tmp_path_factory.mktemp("champion")
    found = fetch_champion(bench.store, old_release.release_id, folder)
    assert found is not None
    return found


def users_of(holdout: pl.DataFrame) -> NDArray[np.int32]:
    users: NDArray[np.int32] = holdout["userId"].unique().sort().to_numpy()
    return users


def _manifest(bench: Bench, trainer_input: TrainerInput) -> Manifest:
    manifest = bench.candidate(trainer_input)
    assert manifest is not None
    return manifest


def test_the_champions_training_part_is_loaded(
    champion: EvaluatedRelease, old_tables: Tables
) -> None:
    train = old_tables[0].filter(pl.col("split") == "train").select(PAIR).sort(PAIR)
    assert champion.trained_on.select(PAIR).sort(PAIR).equals(train)


def test_its_training_pairs_are_neither_predicted_nor_recommended(
    champion: EvaluatedRelease, old_tables: Tables
) -> None:
    interactions, movies = make_interactions()
    # A new holdout, half of which the champion was trained on.
    split = interactions.with_columns(
        split=pl.when(pl.int_range(pl.len()).over("userId") % 2 == 0)
        .then(pl.lit("holdout"))
        .otherwise(pl.lit("train"))
    )
    train = split.filter(pl.col("split") == "train")
    holdout = split.filter(pl.col("split") == "holdout")
    answers = champion.answers(train, holdout, movies, users_of(holdout))
    assert answers is not None
    asked = answers.predictions
    assert asked.join(champion.trained_on, on=PAIR, how="semi").is_empty()
    expected = holdout.join(champion.trained_on, on=PAIR, how="anti").select(PAIR).sort(PAIR)
    assert asked.select(PAIR).equals(expected)
    assert asked["prediction"].is_between(0.5, 5).all()
    recommended = answers.recommendations
    for known in (train, champion.trained_on):
        assert recommended.join(known, on=PAIR, how="semi").is_empty()
    assert set(recommended["userId"]) == set(expected["userId"])
    assert recommended["movieId"].is_in(old_tables[1]["movieId"].to_list()).all()


def test_removed_movies_are_not_recommended_and_unknown_users_are_predicted(
    champion: EvaluatedRelease,
) -> None:
    interactions, movies = make_interactions()
    left = movies.head(40)
    rows = interactions.filter(pl.col("movieId").is_in(left["movieId"].to_list()))
    unknown_user = rows.head(1).with_columns(userId=pl.lit(9_999, pl.Int32))
    holdout = pl.concat([rows.filter(pl.col("split") == "holdout"), unknown_user])
    answers = champion.answers(
        rows.filter(pl.col("split") == "train"), holdout, left, users_of(holdout)
    )
    assert answers is not None
    assert answers.recommendations["movieId"].is_in(left["movieId"].to_list()).all()
    assert 9_999 in answers.predictions["userId"]
    assert 9_999 not in answers.recommendations["userId"]


def test_a_holdout_within_its_training_part_gives_no_comparison(champion: EvaluatedRelease) -> None:
    interactions, movies = make_interactions()
    holdout = interactions.join(champion.trained_on, on=PAIR, how="semi")
    train = interactions.join(champion.trained_on, on=PAIR, how="anti")
    assert champion.answers(train, holdout, movies, users_of(holdout)) is None


def test_metrics_include_the_champions_and_the_release_id_does_not_depend_on_it(
    bench: Bench, small: Tables, old_release: TrainerInput, evaluated_is_served: None
) -> None:
    bench.put_features(*small, md5=NEW)
    alone = bench.input(md5=NEW)
    trainer_input = bench.input(md5=NEW, champion=old_release.release_id)
    assert trainer_input.release_id == alone.release_id
    assert TrainerInput.from_environment(trainer_input.to_environment()) == trainer_input
    assert main([], bench.environment(trainer_input)) == ExitCode.OK
    metrics = _manifest(bench, trainer_input).metrics
    assert metrics.champion.release_id == old_release.release_id
    # All holdout pairs are newer than the champion's training part; it beats the mean nevertheless.
    assert metrics.champion.rows == metrics.holdout.rows
    assert metrics.champion.rmse < metrics.baselines.global_mean.rmse
    assert metrics.champion.candidate.rmse == pytest.approx(metrics.model.rmse)


def _without(bench: Bench, trainer_input: TrainerInput, release_id: str, name: str | None) -> None:
    """Copies a release with one artifact damaged or, for None, without evaluated artifacts."""
    manifest = _manifest(bench, trainer_input)
    artifacts = []
    for artifact in manifest.artifacts:
        if name is None and artifact.name.startswith("evaluated/"):
            continue
        key = contract.release_key(release_id, artifact.name)
        bench.store.copy(artifact.key, key, {})
        artifacts.append(artifact.model_copy(update={"key": key}))
        if artifact.name == name:
            bench.store.put_bytes(key, b"torn")
    build = trainer_input.build.model_copy(update={"dataset_md5": release_id[:8].ljust(32, "0")})
    changed = {
        "release_id": release_id,
        "build": build,
        "fingerprint": build.fingerprint,
        "artifacts": tuple(artifacts),
    }
    assert build.release_id == release_id
    key = contract.release_key(release_id, contract.MANIFEST_FILE)
    bench.store.put_bytes(key, manifest.model_copy(update=changed).to_json())


@pytest.mark.parametrize(
    ("md5", "damaged", "reason"),
    [
        ("c3" * 16, None, "made by an older trainer"),
        ("d4000000" + "0" * 24, contract.EVALUATED_MODEL_FILE, "has changed since it was stored"),
        ("e5" * 16, "nothing", "there is no"),
    ],
)
def test_an_unusable_champion_is_skipped_and_the_reason_is_logged(
    bench: Bench,
    old_release: TrainerInput,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    md5: str,
    damaged: str | None,
    reason: str,
) -> None:
    md5 = md5[:8].ljust(32, "0")
    release_id = bench.input(md5=md5).release_id
    if damaged != "nothing":
        _without(bench, old_release, release_id, damaged)
    folder = tmp_path_factory.mktemp("champion")
    assert fetch_champion(bench.store, release_id, folder) is None
    assert reason in caplog.text


def test_a_candidate_is_trained_although_its_champion_is_missing(
    bench: Bench, trained: TrainerInput
) -> None:
    assert trained.champion == NO_RELEASE
    assert _manifest(bench, trained).metrics.champion is None
    assert f"no comparison with the champion {NO_RELEASE}" in bench.log(trained)


def test_a_model_that_does_not_load_is_an_artifact_error(tmp_path: Path) -> None:
    folder = tmp_path
    (folder / "evaluated").mkdir()
    (folder / contract.EVALUATED_MODEL_FILE).write_bytes(b"PK no model")
    with pytest.raises(ArtifactError, match="do not load"):
        load_champion(folder, NO_RELEASE)
