"""Keys in the object store, and names of stored files, are spelled in `recsys.contract` only."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from recsys import contract
from tests.source_files import source_files

SOURCES: Final = ("src/recsys", "trainer", "dags", "plugins")
# The site is built for another image, shares no code with the pipeline, and so is not searched.
EXEMPT: Final = {
    "src/recsys/contract": "the owner",
    "src/recsys/embedded": "its files are below the stack's own folder, not in the store",
}
NAMES: Final = {
    value for name, value in vars(contract).items() if name.endswith(("_FILE", "_KEY", "_PREFIX"))
}
PATTERN: Final = re.compile(r"(datasets|features|releases|incoming)/.*|[\w./-]+\.(parquet|keras)")


def spellings(path: Path) -> Iterator[str]:
    """String constants of a module, docstrings left out, that look like a key or a stored file."""
    for node in ast.walk(ast.parse(path.read_text())):
        for child in ast.iter_child_nodes(node):
            if (
                isinstance(child, ast.Constant)
                and isinstance(child.value, str)
                and not isinstance(node, ast.Expr)
                and (child.value in NAMES or PATTERN.fullmatch(child.value))
            ):
                yield f"line {child.lineno}: {child.value!r}"


def test_only_the_contract_spells_keys(repository: Path) -> None:
    found = []
    for path in (p for source in SOURCES for p in source_files(repository / source, ".py")):
        name = path.relative_to(repository).as_posix()
        if any(name.startswith(f"{exempt}/") for exempt in EXEMPT):
            continue
        found += [f"{name} {spelling}" for spelling in spellings(path)]
    assert found == [], "name these in recsys/contract/keys.py"
