"""`recsys validate` and `recsys replay`, which need no server."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from recsys import contract
from recsys.cli.app import app
from recsys.cli.data import print_data
from recsys.contract import FeatureSettings
from recsys.dataset import open_dataset, write_sample
from recsys.errors import DatasetError
from recsys.features import Stats, make_features
from tests.dataset_layouts import GIVEN, write_in_layout

GOOD = "".join(
    f"{user},{movie},{1 + user % 4}.0,{user}\n"
    for user in range(1, 11)
    for movie in (1, 2, 3, 4, 6, 7)
)
MORE = "".join(f"{movie},C{movie} (1992),Drama\n" for movie in (3, 4, 6, 7))
HOSTILE = "1,[red]x[/red]\x1b[31m,4.0,5\n"


def recsys(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "80"})


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """60 good ratings, and one that breaks a rule in a hostile way."""
    return write(tmp_path / "in.zip", GOOD + HOSTILE)


def write(path: Path, ratings: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ratings.csv", "userId,movieId,rating,timestamp\n" + ratings)
        archive.writestr(
            "movies.csv", "movieId,title,genres\n1,A (1990),Drama\n2,B (1991),\n" + MORE
        )
    return path


def test_a_dataset_within_the_limits_is_accepted_and_its_rows_are_shown(dataset: Path) -> None:
    done = recsys("validate", dataset)
    assert done.exit_code == 0, done.output
    assert "60 interactions of 10 users" in done.output
    assert "accepted" in done.output
    assert "encoding" in done.output
    assert "[red]x[/red]" in done.output
    assert "\x1b[31m" not in done.output
    assert max(map(len, done.output.splitlines())) <= 80


def test_out_gets_what_the_trainer_reads(dataset: Path, tmp_path: Path) -> None:
    done = recsys("validate", dataset, "--out", tmp_path / "features", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["accepted"] is True
    assert document["files"]["ratings.csv"]["quarantine"]["encoding"]["rows"] == 1
    assert [e["line"] for e in document["examples"]] == [62]
    assert document["profile"]["genres"] == {"Drama": 5, "none": 1}
    written = {path.name for path in (tmp_path / "features").iterdir()}
    assert written == {
        contract.INTERACTIONS_FILE,
        contract.MOVIES_FILE,
        contract.QUARANTINE_FILE,
        contract.STATS_FILE,
    }
    stats = Stats.from_json((tmp_path / "features" / contract.STATS_FILE).read_bytes())
    assert stats.md5 == document["md5"]
    assert "split" in pl.read_parquet_schema(tmp_path / "features" / contract.INTERACTIONS_FILE)


def test_a_dataset_beyond_the_limits_is_reported_whole_and_rejected(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.zip", GOOD + "1,1,9,5\n" * 20 + "1,5,4.0,5\n" * 2)
    shown = recsys("validate", path)
    assert shown.exit_code == 1
    assert "too many rows of ratings.csv are invalid" in " ".join(shown.output.split())
    document = json.loads(recsys("validate", path, "--json").stdout)
    assert document["accepted"] is False
    assert "at most 2.0% for rating_range" in document["reason"]
    rules = document["files"]["ratings.csv"]["quarantine"]
    assert {rule: found["rows"] for rule, found in rules.items()} == {
        "rating_range": 20,
        "unknown_movie": 2,
    }


def test_rows_come_back_as_a_new_dataset_that_is_accepted(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.zip", GOOD + "1,1,9,5\n" * 20 + "1,5,4.0,5\n2,5,4.0,5\n")
    kept = tmp_path / "kept"
    assert recsys("validate", path, "--out", kept).exit_code == 1
    movies, out = tmp_path / "movies.csv", tmp_path / "new.zip"
    movies.write_text("movieId,title,genres\n5,E (1995),Drama\n")
    arguments = ("--quarantine", kept / "quarantine.parquet", "--movies", movies, "--out", out)
    done = recsys("replay", path, *arguments, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["pass_now"] == {"ratings.csv": {"unknown_movie": 2}, "movies.csv": {}}
    assert document["rows"] == {"movies.csv": 7, "ratings.csv": 62}
    assert recsys("validate", out).exit_code == 0
    shown = recsys("replay", path, *arguments)
    assert "recsys run --source" in shown.output
    assert str(document["md5"]) in shown.output


def test_without_out_a_replay_only_counts(dataset: Path, tmp_path: Path) -> None:
    done = recsys("replay", dataset)
    assert done.exit_code == 0, done.output
    assert "ratings.csv: 60 rows, 0 of them repaired" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["in.zip"]


def test_a_dataset_is_never_replaced_by_its_replay(dataset: Path) -> None:
    before = dataset.read_bytes()
    assert recsys("replay", dataset, "--out", dataset).exit_code == 2
    assert dataset.read_bytes() == before


def test_a_file_that_is_no_quarantine_is_named(dataset: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    pl.DataFrame({"a": [1]}).write_parquet(other)
    done = recsys("replay", dataset, "--quarantine", other)
    assert "other.parquet is not a quarantine" in str(done.exception)


@pytest.mark.parametrize("hard", [True, False])
def test_quarantine_and_drift_are_printed_as_one_reads_them(
    hard: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    report = {
        "files": {
            "ratings.csv": {
                "rows": 1000,
                "quarantined": 7,
                "quarantine": {"rating_range": {"rows": 7, "share": 0.007}},
            },
            "movies.csv": {"rows": 50, "quarantined": 0, "quarantine": {}},
        },
        "drift": {
            "measures": {"vanished_users": 0.7, "new_users": 0.01},
            "breaches": [{"measure": "vanished_users", "value": 0.7, "limit": 0.6, "hard": hard}],
        },
    }
    print_data(report)
    said = capsys.readouterr().out
    assert "ratings.csv: 1,000 rows, 7 in quarantine: rating_range 7 (0.70%)" in said
    assert "movies.csv: 50 rows, 0 in quarantine\n" in said
    [vanished] = [line for line in said.splitlines() if "vanished_users" in line]
    assert vanished.split() == ["vanished_users", "0.700", "0.6", "✗" if hard else "!"]
    print_data({**report, "drift": None})
    assert "drift: nothing to compare with" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ratings", "reason"),
    [
        ("".join(f"1,{movie},{movie % 5 + 1},5\n" for movie in (1, 2, 3, 4, 6, 7)), "userId"),
        ("".join(f"{user},1,{user % 5 + 1},5\n" for user in range(1, 9)), "holdout"),
        (GOOD.replace("2.0", "1.0").replace("3.0", "1.0").replace("4.0", "1.0"), "rating"),
    ],
    ids=["one user", "one rating each", "equal ratings"],
)
def test_what_the_trainer_refuses_is_rejected(tmp_path: Path, ratings: str, reason: str) -> None:
    done = recsys("validate", write(tmp_path / "small.zip", ratings), "--json")
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert document["accepted"] is False
    assert reason in document["reason"]


def test_rows_of_each_rule_are_shown_when_no_row_is_valid(tmp_path: Path) -> None:
    bad = "1,1,9,5\n" * 30 + "1,1,4.0,-5\n" * 20 + "one,1,4.0,5\n" * 10
    path = write(tmp_path / "bad.zip", bad)
    done = recsys("validate", path, "--json")
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert document["accepted"] is False
    assert "the scale seems to be 1 to 10" in document["reason"]
    assert document["files"]["ratings.csv"]["quarantine"]["rating_range"]["rows"] == 30
    assert document["files"]["movies.csv"]["rows"] == 6
    lines = [(row["rule"], row["line"]) for row in document["examples"]]
    assert sorted(lines) == [
        *(("rating_range", line) for line in (2, 3, 4)),
        *(("timestamp_range", line) for line in (32, 33, 34)),
        *(("wrong_type", line) for line in (52, 53, 54)),
    ]
    shown = recsys("validate", path).output
    assert "one,1,4.0,5" in shown
    assert "1,1,4.0,-5" in shown


def test_a_run_and_validate_refuse_for_the_same_reason(tmp_path: Path) -> None:
    """Movies are checked before ratings, as in a run."""
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ratings.csv", "userId,movieId,rating,timestamp\n" + "1,1,9,5\n" * 9)
        archive.writestr("movies.csv", "movieId,title,genres\n1,A,B\n2,A,B,C\n")
    with open_dataset(path) as archive, pytest.raises(DatasetError) as of_a_run:
        make_features(archive, "0" * 32, FeatureSettings(), tmp_path)
    document = json.loads(recsys("validate", path, "--json").stdout)
    assert document["reason"] == str(of_a_run.value)
    assert {row["rule"] for row in document["examples"]} == {"field_count", "rating_range"}


def test_the_md5_file_that_a_run_would_check_is_checked(dataset: Path) -> None:
    missing = recsys("validate", dataset)
    assert missing.exit_code == 0
    assert "md5sum in.zip > in.zip.md5" in missing.output
    md5_file = dataset.with_name("in.zip.md5")
    md5_file.write_text(hashlib.md5(dataset.read_bytes(), usedforsecurity=False).hexdigest())
    good = json.loads(recsys("validate", dataset, "--json").stdout)
    assert (good["accepted"], good["md5_file"]) == (True, "matches")
    md5_file.write_text("0" * 32)
    done = recsys("validate", dataset, "--json")
    bad = json.loads(done.stdout)
    assert done.exit_code == 1
    assert (bad["accepted"], bad["md5_file"]) == (False, "differs")
    assert "0" * 32 in bad["reason"]
    md5_file.write_text("no md5")
    assert json.loads(recsys("validate", dataset, "--json").stdout)["md5_file"] == "invalid"


@pytest.mark.parametrize("said_in", ["variable", "description"])
def test_names_that_were_said_are_used_as_in_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said_in: str
) -> None:
    write_sample(tmp_path / "sample.zip", ratings=3000, seed=2)
    path = tmp_path / "other.zip"
    write_in_layout(tmp_path / "sample.zip", path, "given names")
    build = {"features": {"columns": GIVEN.model_dump()}}
    assert recsys("validate", path).exit_code == 1
    if said_in == "variable":
        monkeypatch.setenv("RECSYS_BUILD_SETTINGS", json.dumps(build))
    else:
        described = {"name": "books", "title": "B", "source": str(path), "build": build}
        (tmp_path / "books.yaml").write_text(json.dumps(described))
        monkeypatch.setenv("RECSYS_RECOMMENDERS", str(tmp_path))
        monkeypatch.setenv("RECSYS_RECOMMENDER", "books")

    done = recsys("validate", path)
    assert done.exit_code == 0, done.output
    assert "CSV of the named files: 3,000 interactions" in " ".join(done.output.split())
    replayed = recsys("replay", path, "--out", tmp_path / "new.zip")
    assert replayed.exit_code == 0, replayed.output
    monkeypatch.delenv("RECSYS_BUILD_SETTINGS", raising=False)
    monkeypatch.delenv("RECSYS_RECOMMENDER", raising=False)
    assert recsys("validate", tmp_path / "new.zip").exit_code == 0, "a dataset in the usual layout"


def test_build_settings_that_are_invalid_name_the_field(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_BUILD_SETTINGS", '{"features": {"columns": {"stars": "grade"}}}')
    done = recsys("validate", dataset)
    assert done.exit_code != 0
    assert "features.columns.stars" in str(done.exception or done.output)
