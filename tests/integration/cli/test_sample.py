"""Samples of ratings, with their md5."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.command_line import (
    CommandLine,
)


@pytest.mark.parametrize("ratings", ["99", str(10**12)])
def test_a_sample_has_a_size_that_can_be_made(
    recsys: CommandLine, tmp_path: Path, ratings: str
) -> None:
    done = recsys("sample", str(tmp_path / "x.zip"), "--ratings", ratings)
    assert (done.code, done.out) == (2, "")
    assert "'--ratings': Input should be" in done.words
    assert not [*tmp_path.iterdir()]


def test_a_sample_comes_with_an_md5_that_md5sum_verifies(
    recsys: CommandLine, tmp_path: Path
) -> None:
    md5sum = shutil.which("md5sum")
    if md5sum is None:
        pytest.skip("there is no md5sum here")
    path = tmp_path / "new folder" / "it's [a] sample.zip"
    done = recsys("sample", str(path), "--ratings", "300", "--seed", "3")
    assert (done.code, done.err) == (0, "")
    assert "300 ratings" in done.words
    checked = subprocess.run(
        [md5sum, "--check", f"{path.name}.md5"],
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout) == (0, f"{path.name}: OK\n")
