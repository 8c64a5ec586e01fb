"""Models side by side: the trainer's process is played by a script that answers like it."""

from __future__ import annotations

import json
import stat
import statistics
import sys
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from recsys.cli.app import app
from recsys.dataset import open_dataset, write_sample
from recsys.errors import TrainingError
from recsys.experiments import ModelName, SplitName, compare_models, read_in_file_order
from recsys.experiments.splits import holdout_masks, mark_holdout

# It answers with the mean of the training part as every metric, so that folds differ.
TRAINER = """#!{python}
import json, sys
from pathlib import Path
import polars as pl
assert sys.argv[1:4] == ["-m", "trainer", "local"], sys.argv
given = dict(zip(sys.argv[4::2], sys.argv[5::2]))
if given.get("--set") == "rating.epochs=0":
    print("rating.epochs makes no sense")
    sys.exit(78)
rows = pl.read_parquet(Path(given["--features"], "interactions.parquet"))
assert Path(given["--features"], "movies.parquet").exists()
mean = rows.filter(pl.col("split") == "train")["rating"].mean()
print("2026-01-01T00:00:00Z INFO at work")
out = Path(given["--out"])
out.mkdir()
names = ["rmse", "mae", "ndcg@10", "recall@10", "recall@20", "mrr", "coverage"]
(out / "metrics.json").write_text(json.dumps(dict(model=dict.fromkeys(names, mean))))
(out / "training_history.json").write_text("[]")
(out / "lineage.json").write_text(json.dumps(dict(fit_s=dict(rating=1.5, towers=2))))
"""


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "sample.zip"
    write_sample(path, ratings=3000)
    return path


@pytest.fixture(autouse=True)
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    script.write_text(TRAINER.format(python=sys.executable))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("RECSYS_TRAINER_PYTHON", str(script))
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "home"))


def tables(sample: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    with open_dataset(sample) as archive:
        return read_in_file_order(archive)


def test_folds_are_averaged_with_their_standard_deviation(sample: Path) -> None:
    rows, movies = tables(sample)
    said: list[str] = []

    found = compare_models(
        rows,
        movies,
        SplitName.CV5,
        [ModelName.TRAINER, ModelName.BIAS],
        seed=3,
        assignments=["rating.epochs=2"],
        on_line=said.append,
    )

    means = [
        mark_holdout(rows, mask).filter(pl.col("split") == "train")["rating"].mean()
        for mask in holdout_masks(SplitName.CV5, rows)
    ]
    trainer, bias = found["models"]
    assert found["folds"] == 5
    assert found["holdout_rows"] == rows.height
    assert trainer["rmse"] == pytest.approx(statistics.fmean(means))
    assert trainer["std"]["rmse"] == pytest.approx(statistics.stdev(means))
    assert trainer["fit_s"] == 3.5
    assert bias["rmse"] > 0
    assert bias["ndcg@10"] is None
    assert [line for line in said if "at work" in line][-1].startswith("fold 5: ")


def test_a_failure_of_the_trainer_shows_its_last_line(sample: Path) -> None:
    rows, movies = tables(sample)

    with pytest.raises(TrainingError, match="makes no sense"):
        compare_models(
            rows,
            movies,
            SplitName.RANDOM_10,
            [ModelName.TRAINER],
            seed=3,
            assignments=["rating.epochs=0"],
            on_line=lambda line: None,
        )


@pytest.mark.parametrize("split", [SplitName.RANDOM_10, SplitName.LEAVE_LAST_OUT])
def test_evaluate_prints_one_json_document_with_every_model(sample: Path, split: str) -> None:
    done = CliRunner().invoke(app, ["evaluate", "--split", split, "-s", str(sample), "--json"])

    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["split"] == split
    assert [model["name"] for model in found["models"]] == list(ModelName)
    for model in found["models"]:
        assert {"rmse", "mae", "ndcg@10", "recall@10", "recall@20", "mrr", "fit_s"} <= set(model)
    errors = {model["name"]: model["rmse"] for model in found["models"]}
    assert errors["bias"] < errors["global_mean"]
    assert errors["popularity"] is None


def test_evaluate_prints_a_table_that_fits_80_columns(sample: Path) -> None:
    done = CliRunner(env={"COLUMNS": "80"}).invoke(
        app, ["evaluate", "--split", "temporal-10", "-s", str(sample)]
    )

    assert done.exit_code == 0, done.output
    for model in ModelName:
        assert any(line.startswith(model) for line in done.stdout.splitlines())
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_model_that_is_none_is_wrong_usage(sample: Path) -> None:
    done = CliRunner().invoke(
        app, ["evaluate", "--split", "cv5", "-s", str(sample), "--models", "bias,magic"]
    )

    assert done.exit_code == 2
    assert "magic" in done.output


def test_a_dataset_that_is_tried_out_is_not_that_of_the_weekly_runs(
    sample: Path, tmp_path: Path
) -> None:
    CliRunner().invoke(
        app, ["evaluate", "--split", "random-10", "-s", str(sample), "--models", "bias"]
    )

    assert not (tmp_path / "home").exists()
