"""The digest in place of an image's: it changes with each file of the image, and no other."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from recsys import contract, trainer_process
from recsys.contract import Build
from recsys.trainer_process import LocalTrainer


@pytest.fixture
def copied(tmp_path: Path, repository: Path) -> LocalTrainer:
    """A copy of the sources that the trainer's image contains."""
    skip = shutil.ignore_patterns(".venv", "__pycache__")
    shutil.copytree(repository / "trainer", tmp_path / "trainer", ignore=skip)
    shutil.copytree(repository / "src" / "recsys", tmp_path / "src" / "recsys", ignore=skip)
    return LocalTrainer(python=Path(sys.executable), root=tmp_path)


def test_a_copy_in_another_folder_has_the_same_digest(
    copied: LocalTrainer, repository: Path
) -> None:
    digest = copied.digest()
    assert digest == LocalTrainer(python=Path("any"), root=repository).digest()
    build = Build(dataset_md5="0" * 32, trainer_digest=digest, settings={})
    assert contract.check_release_id(build.release_id)


@pytest.mark.parametrize(
    "path",
    [
        *("trainer/rating/model.py", "trainer/__main__.py", "trainer/uv.lock"),
        *(
            "src/recsys/contract/build.py",
            "src/recsys/evaluation/metrics.py",
            "src/recsys/errors.py",
            "src/recsys/object_store/store.py",
        ),
    ],
)
def test_a_changed_file_of_the_image_changes_the_digest(copied: LocalTrainer, path: str) -> None:
    before = copied.digest()
    with (copied.root / path).open("a") as file:
        file.write("\n")
    assert copied.digest() != before


def test_each_source_file_of_the_image_changes_the_digest(copied: LocalTrainer) -> None:
    package = copied.root / "src" / "recsys"
    shared = [package / name for name in trainer_process.SHARED_MODULES]
    folders = [copied.root / "trainer", *(path for path in shared if path.is_dir())]
    files = [
        *(path for folder in folders for path in folder.rglob("*.py")),
        *(path for path in shared if path.is_file()),
    ]
    digests = {copied.digest()}
    for path in files:
        with path.open("a") as file:
            file.write("\n")
        digests.add(copied.digest())
    assert len(files) > 30
    assert len(digests) == len(files) + 1


@pytest.mark.parametrize("change", ["added", "renamed", "removed"])
def test_an_added_renamed_or_removed_file_changes_the_digest(
    copied: LocalTrainer, change: str
) -> None:
    before, trainer = copied.digest(), copied.root / "trainer"
    if change == "added":
        (trainer / "deeper").mkdir()
        (trainer / "deeper" / "new.py").touch()
    elif change == "renamed":
        (trainer / "export.py").rename(trainer / "exports.py")
    else:
        (trainer / "export.py").unlink()
    assert copied.digest() != before


@pytest.mark.parametrize(
    "path",
    [
        *("trainer/.venv/lib/x.py", "trainer/__pycache__/model.cpython-311.pyc"),
        *("trainer/notes.md", "src/recsys/releases/promotion.py", "src/recsys/gate/settings.py"),
        *("src/recsys/database/connection.py", "src/recsys/features/drift.py", "src/recsys/new.py"),
        *("src/recsys/releases/retirement.py", "src/recsys/dataset/settings.py"),
    ],
)
def test_a_file_outside_of_the_image_does_not_change_the_digest(
    copied: LocalTrainer, path: str
) -> None:
    before = copied.digest()
    (copied.root / path).parent.mkdir(parents=True, exist_ok=True)
    (copied.root / path).write_text("changed")
    assert copied.digest() == before


def test_a_raised_threshold_of_the_gate_keeps_the_digest_and_the_release_id(
    copied: LocalTrainer,
) -> None:
    def build() -> Build:
        return Build(dataset_md5="0" * 32, trainer_digest=copied.digest(), settings={})

    before = build()
    settings = copied.root / "src" / "recsys" / "gate" / "settings.py"
    raised = re.sub(
        r"(min_coverage: float = Field\(\s*default=)[\d.]+", r"\g<1>0.02", settings.read_text()
    )
    assert raised != settings.read_text()
    settings.write_text(raised)
    assert build() == before
    assert build().release_id == before.release_id
