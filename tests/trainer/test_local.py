"""Local training: features from a folder, the files of a release to another folder."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from recsys import contract
from recsys.contract import ExitCode
from trainer.__main__ import main

Tables = tuple[pl.DataFrame, pl.DataFrame]
QUICK = ("--set", "rating.members=1", "--set", "rating.epochs=2", "--set", "ranking.epochs=1")


@pytest.fixture(scope="module")
def features(small: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    small[0].write_parquet(folder / contract.INTERACTIONS_FILE)
    small[1].write_parquet(folder / contract.MOVIES_FILE)
    return folder


@pytest.fixture(scope="module")
def earlier(features: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The --out folder of a training with settings from a file, the environment and --set."""
    folder = tmp_path_factory.mktemp("earlier")
    file = folder / "settings.toml"
    file.write_text("[rating]\nlearning_rate = 0.02\nfactors = 3\npatience = 7\n")
    code = _train(
        features,
        folder / "first",
        "--no-refit",
        *("--config", str(file), "--set", "rating.factors=5"),
        RECSYS_TRAINER__RATING__FACTORS="4",
        RECSYS_TRAINER__RATING__PATIENCE="6",
    )
    assert code == ExitCode.OK
    return folder / "first"


def _train(features: Path, out: Path, *more: str, **environ: str) -> ExitCode:
    arguments = ["local", "--features", str(features), "--out", str(out), *QUICK, *more]
    return main(arguments, environ)


def _json(folder: Path, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / name).read_text())
    return found


def test_local_training_writes_all_artifacts_and_the_lineage(
    features: Path, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "out"
    assert _train(features, out, "--seed", "4") == ExitCode.OK
    names = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert names == contract.CANDIDATE_ARTIFACTS | {contract.LINEAGE_FILE}
    lineage = _json(out, contract.LINEAGE_FILE)
    assert lineage["seed"] == 4
    assert set(lineage["fit_s"]) == {"rating", "towers"}  # type: ignore[call-overload]  # plain JSON
    history = _json(out, contract.HISTORY_FILE)
    assert history["served"] != history["evaluated"]
    assert list(out.parent.iterdir()) == [out]


def test_the_command_line_overrides_the_environment_which_overrides_the_file(
    earlier: Path,
) -> None:
    lineage = _json(earlier, contract.LINEAGE_FILE)
    rating = lineage["config"]["rating"]  # type: ignore[index]  # plain JSON
    assert (rating["learning_rate"], rating["patience"], rating["factors"]) == (0.02, 6, 5)


def test_an_earlier_training_can_be_the_champion_and_can_be_replaced(
    features: Path, earlier: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    shutil.copytree(earlier, second)
    (second / "leftover").touch()
    settings = ("--set", "rating.learning_rate=0.02", "--set", "rating.factors=5")
    code = _train(features, second, "--no-refit", "--champion", str(earlier), *settings)
    assert code == ExitCode.OK
    champion = _json(second, contract.METRICS_FILE)["champion"]
    assert isinstance(champion, dict)
    assert champion["release_id"] == "first"
    assert champion["rmse"] == pytest.approx(champion["candidate"]["rmse"], abs=1e-5)
    assert not (second / "leftover").exists()


def test_a_folder_with_other_files_is_not_replaced(
    features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(features, features) == ExitCode.BAD_CONFIG
    assert "contains other files than an earlier training's" in capsys.readouterr().out
    assert len(list(features.iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        (["--set", "rating.learning_rate=NaN"], {}, "rating.learning_rate"),
        (["--set", "rating.epochs=twelve"], {}, "rating.epochs"),
        (["--set", "epochs"], {}, "does not name a setting"),
        (["--seed", "-1"], {}, "--seed is negative"),
        (["--config", "/nowhere.toml"], {}, "cannot be read"),
        ([], {"RECSYS_TRAINER__RATING__LEARNING_RATE": "Infinity"}, "rating.learning_rate"),
        ([], {"RECSYS_TRAINER__EPOCHS": "3"}, "RECSYS_TRAINER__EPOCHS does not name a setting"),
    ],
)
def test_invalid_settings_are_refused_by_name_before_anything_is_read(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    environ: dict[str, str],
    message: str,
) -> None:
    nowhere = tmp_path / "nowhere"
    assert _train(nowhere, tmp_path / "out", *arguments, **environ) == ExitCode.BAD_CONFIG
    assert message in capsys.readouterr().out


def test_missing_features_are_bad_data_and_leave_no_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(tmp_path / "nowhere", tmp_path / "out") == ExitCode.BAD_DATA
    assert "interactions.parquet cannot be read" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
