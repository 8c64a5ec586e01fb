"""The search for settings: the trainer's process is played by a script with a known optimum."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from recsys.cli.app import app
from recsys.contract import FeatureSettings
from recsys.dataset import open_dataset, write_sample
from recsys.errors import TrainingError
from recsys.experiments import Objective, tune
from recsys.experiments.tuning import nest_overrides, write_inner_split
from recsys.features import make_features
from recsys.recommenders import read_description

# Its error is least at recency 1; its NDCG grows with the weight of liked movies.
TRAINER = """#!{python}
import json, sys
from pathlib import Path
given = {{"rating.recency": 0.0, "ranking.liked_weight": 3.0}}
for flag, value in zip(sys.argv, sys.argv[1:]):
    if flag == "--set":
        name, _, text = value.partition("=")
        given[name] = float(text)
if given["rating.recency"] > 1.9 or {broken}:
    print("diverged")
    sys.exit(65)
out = Path(sys.argv[sys.argv.index("--out") + 1])
out.mkdir(exist_ok=True)
model = {{
    "rmse": 0.8 + (given["rating.recency"] - 1) ** 2,
    "ndcg@10": given["ranking.liked_weight"] / 10,
}}
(out / "metrics.json").write_text(json.dumps({{"model": model}}))
(out / "training_history.json").write_text("[]")
(out / "lineage.json").write_text("{{}}")
"""


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "sample.zip"
    write_sample(path, ratings=1000)
    return path


@pytest.fixture(scope="module")
def features(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    with open_dataset(sample) as archive:
        make_features(archive, "0" * 32, FeatureSettings(), folder)
    return folder


def play_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bool = False) -> None:
    script = tmp_path / "python"
    script.write_text(TRAINER.format(python=sys.executable, broken=broken))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("RECSYS_TRAINER_PYTHON", str(script))
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("objective", list(Objective))
def test_the_search_improves_its_objective(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: Objective
) -> None:
    play_trainer(tmp_path, monkeypatch)

    found = tune(features, objective, 12, 1, lambda line: None)

    values = [trial["value"] for trial in found["trials"] if trial["value"] is not None]
    best = min(values) if objective is Objective.RMSE else max(values)
    assert found["best"] == best
    assert found["defaults"] == pytest.approx(1.8 if objective is Objective.RMSE else 0.3)
    chosen = next(trial for trial in found["trials"] if trial["value"] == best)
    assert found["overrides"] == nest_overrides(chosen["overrides"])


def test_the_same_seed_makes_the_same_search(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_trainer(tmp_path, monkeypatch)

    first, again = (tune(features, Objective.RMSE, 4, 7, lambda line: None) for _ in range(2))

    assert first == again


def test_trials_never_see_the_holdout(features: Path, tmp_path: Path) -> None:
    write_inner_split(features, tmp_path)

    given = pl.read_parquet(features / "interactions.parquet")
    inner = pl.read_parquet(tmp_path / "interactions.parquet")
    hidden = given.filter(pl.col("split") != "train")
    assert hidden.height > 0
    assert inner.join(hidden, on=["userId", "movieId"], how="semi").is_empty()
    assert inner.height == (given["split"] == "train").sum()
    assert (inner["split"] == "holdout").sum() > 0


def test_a_trainer_that_fails_with_its_own_settings_ends_the_search(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_trainer(tmp_path, monkeypatch, broken=True)

    with pytest.raises(TrainingError, match="diverged"):
        tune(features, Objective.RMSE, 2, 1, lambda line: None)


def test_the_command_prints_what_to_build_with(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_trainer(tmp_path, monkeypatch)
    asked = ["tune", "-s", str(sample), "--trials", "3"]

    done = CliRunner(env={"COLUMNS": "80"}).invoke(app, asked)
    as_json = CliRunner().invoke(app, [*asked, "--json"])

    assert done.exit_code == as_json.exit_code == 0
    settings = json.loads(as_json.stdout)["build_settings"]
    assert f"RECSYS_BUILD_SETTINGS='{json.dumps(settings)}'" in done.stdout


def test_settings_of_a_run_stay_beside_those_that_are_found(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_trainer(tmp_path, monkeypatch)
    folder = tmp_path / "recommenders"
    folder.mkdir()
    described = {"name": "books", "title": "Books", "source": "s3://b/books.zip"}
    build = {
        "features": {"max_rule_shares": {"unknown_movie": 0.5}},
        "trainer": {"seed": 7, "overrides": {"ranking": {"epochs": 1}}},
    }
    file = folder / "books.yaml"
    file.write_text(yaml.safe_dump({**described, "build": build}))
    monkeypatch.setenv("RECSYS_RECOMMENDERS", str(folder))
    monkeypatch.setenv("RECSYS_BUILD_SETTINGS", '{"trainer": {"seed": 9}}')
    asked = ["tune", "-s", str(sample), "--trials", "3"]

    of_movies = CliRunner(env={"COLUMNS": "80"}).invoke(app, asked)
    monkeypatch.setenv("RECSYS_RECOMMENDER", "books")
    done = CliRunner(env={"COLUMNS": "80"}).invoke(app, asked)

    assert done.exit_code == of_movies.exit_code == 0, done.output
    found = done.stdout[done.stdout.index("build:") :]
    file.write_text(yaml.safe_dump(described) + found)
    read = read_description(file).build
    assert read is not None
    assert read.features.max_rule_shares.unknown_movie == 0.5
    assert read.trainer.seed == 7
    assert list(read.trainer.overrides) == ["rating"], "trials had the trainer's defaults else"
    assert str(file.name) in done.stdout
    assert '"seed": 9, "overrides"' in of_movies.stdout
