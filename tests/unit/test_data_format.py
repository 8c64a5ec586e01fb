"""The page about own data: its example runs, and its numbers are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from docs import make_build_settings
from recsys import contract
from recsys.cli.app import app
from recsys.contract import FeatureSettings
from recsys.dataset import MOVIE_COLUMNS, RATING_COLUMNS
from recsys.features import validation


@pytest.fixture(scope="module")
def text(repository: Path) -> str:
    return (repository / "docs" / "data-format.md").read_text()


def test_the_ten_lines_make_a_dataset_that_a_run_accepts(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = text.split("<!-- tested: ten lines -->\n```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "data-format.md", "exec"), {})  # noqa: S102  our own page
    done = CliRunner().invoke(app, ["validate", "mine.zip", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["accepted"], found["md5_file"]) == (True, "matches")
    assert all(not file["quarantine"] for file in found["files"].values())


def test_columns_and_ranges_are_those_of_the_code(text: str) -> None:
    for column in (*RATING_COLUMNS, *MOVIE_COLUMNS):
        assert f"`{column}`" in text
    assert all(str(contract.max_id(bits)) in text for bits in get_args(contract.IdBits))
    assert f"1 to {validation.MAX_TITLE} characters" in text
    assert f"{contract.MIN_STARS} to {contract.MAX_STARS:g} in steps" in text
    settings = FeatureSettings()
    shares = settings.max_rule_shares.model_dump()
    assert f"more than {settings.max_quarantine_share:.0%}".replace("%", " %") in text
    others = {share for rule, share in shares.items() if rule not in ("unknown_movie", "duplicate")}
    assert others == {0.02}
    assert (shares["unknown_movie"], shares["duplicate"]) == (0.05, 0.2)


def test_every_file_of_a_release_is_listed(text: str) -> None:
    listed = set(re.findall(r"`([\w./]+)`", text.split("## What a release contains")[1]))
    required = {name.partition("/")[0] for name in contract.REQUIRED_ARTIFACTS}
    assert required <= {name.partition("/")[0] for name in listed}


def test_the_page_of_build_settings_is_that_of_the_code() -> None:
    written = make_build_settings.PAGE.read_text(encoding="utf-8")
    assert written == make_build_settings.page(), "run: make docs"
