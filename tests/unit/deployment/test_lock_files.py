"""The lock files name what pyproject.toml asks for, so that `make setup` works on a fresh clone."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

LOCKS: Final = ("uv.lock", "trainer/uv.lock", "spark/uv.lock", "site/uv.lock")


def requirements(repository: Path) -> set[tuple[str, str]]:
    """Name and extra of each requirement of the package."""
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    groups = {"": project["dependencies"]} | project["optional-dependencies"]
    return {
        (re.split(r"[^\w-]", requirement)[0].lower(), extra)
        for extra, requirements in groups.items()
        for requirement in requirements
    }


def locked(path: Path) -> set[tuple[str, str]] | None:
    """The same of a lock file; None if the package is not in it."""
    packages: list[dict[str, Any]] = tomllib.loads(path.read_text())["package"]
    found = [one for one in packages if one["name"] == "recsys"]
    if not found:
        return None
    return {
        (one["name"], extra[1] if (extra := _EXTRA.search(one.get("marker", ""))) else "")
        for one in found[0]["metadata"]["requires-dist"]
    }


_EXTRA: Final = re.compile(r"extra == '([\w-]+)'")


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_knows_all_requirements_of_the_package(repository: Path, name: str) -> None:
    found = locked(repository / name)
    assert found is None or found == requirements(repository), f"run `uv lock` in {name}'s folder"


def test_the_lock_files_of_pipeline_and_trainer_have_the_package(repository: Path) -> None:
    assert locked(repository / "uv.lock")
    assert locked(repository / "trainer/uv.lock")


def pinned(path: Path) -> dict[str, str]:
    """Versions by name in a file of requirements."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("folder", ["fab", "peers", "reference"])
def test_requirements_of_tests_have_what_they_were_made_from(repository: Path, folder: str) -> None:
    wanted = pinned(repository / "tests" / folder / "requirements.in")
    assert wanted
    assert wanted.items() <= pinned(repository / "tests" / folder / "requirements.txt").items(), (
        "run `make lock`"
    )


def test_what_is_laid_over_the_pipelines_environment_has_its_versions(repository: Path) -> None:
    packages = tomllib.loads((repository / "uv.lock").read_text())["package"]
    versions = {one["name"]: one.get("version") for one in packages}
    over = pinned(repository / "tests/fab/requirements.txt")
    # One that Linux has too would hide the environment's own.
    assert {name for name in over if name in versions} == {"colorama"}, "run `make lock`"
    assert over["colorama"] == versions["colorama"]
