"""The switch under which a skipped test is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run_suites import test_lanes as lanes_of_make_test

TESTS = """
import pytest
def test_runs(): pass
def test_skips(): pytest.skip("no such program here")
@pytest.mark.skip(reason="takes root")
def test_is_marked(): pass
@pytest.mark.xfail(reason="known")
def test_is_expected_to_fail(): assert False
"""
FILE = 'import pytest\npytest.skip("no such server here", allow_module_level=True)\n'


def run(repository: Path, folder: Path, may_skip: str = "") -> str:
    (folder / "test_some.py").write_text(TESTS)
    (folder / "test_file.py").write_text(FILE)
    options = ["-q", "-rA", "-p", "tests.no_skips", "-p", "no:cacheprovider"]
    options += ["--rootdir", str(folder), "--continue-on-collection-errors", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=repository,
        env={**os.environ, "RECSYS_TEST_MAY_SKIP": may_skip},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def test_a_skip_is_a_failure_and_an_expected_failure_is_none(
    repository: Path, tmp_path: Path
) -> None:
    said = run(repository, tmp_path)
    assert "1 failed, 1 passed, 1 xfailed, 2 errors" in said
    for reason in ("no such program here", "takes root", "no such server here"):
        assert reason in said


def test_reasons_that_another_step_covers_are_accepted(repository: Path, tmp_path: Path) -> None:
    assert "1 failed, 1 passed, 2 skipped, 1 xfailed" in run(
        repository, tmp_path, "takes root|no such server"
    )


@pytest.mark.parametrize(("value", "loaded"), [("1", True), ("", False)])
def test_make_test_knows_the_switch(value: str, loaded: bool) -> None:
    for lane in lanes_of_make_test({"RECSYS_TEST_NO_SKIPS": value}):
        for step in lane:
            assert ("tests.no_skips" in step.command) is loaded, step.name
