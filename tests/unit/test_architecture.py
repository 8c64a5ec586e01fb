"""docs/architecture.md shows the structure that the code has."""

from __future__ import annotations

import re
from pathlib import Path

from tests.architecture import layers, mermaid, read_structure


def architecture(repository: Path) -> str:
    return (repository / "docs" / "architecture.md").read_text()


def test_the_picture_shows_the_imports_of_the_code(repository: Path) -> None:
    [picture] = re.findall(r"```mermaid\n(.*?)\n?```", architecture(repository), re.DOTALL)
    assert picture == mermaid(read_structure()), "paste `python -m tests.architecture --mermaid`"


def test_the_table_names_every_package(repository: Path) -> None:
    table = architecture(repository).partition("| package |")[2].partition("\n\n")[0]
    named = {
        name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert named == {name for layer in layers() for name in layer}


def test_every_file_to_go_to_exists(repository: Path) -> None:
    table = architecture(repository).partition("| change |")[2].partition("\n\n")[0]
    paths = [path for path in re.findall(r"`([\w/]+(?:\.py|/))`", table)]
    assert len(paths) > 12
    roots = [repository, repository / "src" / "recsys", repository / "trainer"]
    for path in paths:
        assert any((root / path).exists() for root in roots), path


def test_readme_links_every_document(repository: Path) -> None:
    readme = (repository / "README.md").read_text()
    linked = set(re.findall(r"\]\((docs/[^)#]+)", readme))
    documents = {f"docs/{path.name}" for path in (repository / "docs").glob("*.md")}
    assert documents <= linked, sorted(documents - linked)
    index = (repository / "docs" / "adr" / "README.md").read_text()
    records = {path.name for path in (repository / "docs" / "adr").glob("0*.md")}
    assert records <= set(re.findall(r"\]\((0[^)]+)\)", index))
