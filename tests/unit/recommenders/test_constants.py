"""No code names the first recommender: all names derive from one value."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from recsys.recommenders import FIRST_RECOMMENDER, Namespace

FIRST = Namespace(FIRST_RECOMMENDER)
NAMES = re.compile(rf"{FIRST.name}|{FIRST.dataset_asset}")
OWNERS = {
    # The value that the others derive from.
    "src/recsys/recommenders/namespace.py",
    # It has servers of its own, and one recommender on them.
    "src/recsys/benchmark/whole.py",
    # A field of every description, which names the exception.
    "src/recsys/recommenders/description.py",
    # The default of another team's operators and sensors, which install no descriptions.
    "dags/recsys_dag/assets.py",
}


def constants(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yields all texts but docstrings."""
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if isinstance(node, ast.Constant) and is_text and id(node) not in statements:
            yield node


def test_names_of_a_recommender_are_constants_of_the_namespace_only(repository: Path) -> None:
    found = [
        f"{file.relative_to(repository)}:{node.lineno}"
        for folder in ("src", "dags", "plugins")
        for file in sorted((repository / folder).rglob("*.py"))
        if str(file.relative_to(repository)) not in OWNERS
        for node in constants(ast.parse(file.read_text()))
        if NAMES.search(node.value)  # type: ignore[arg-type]  # a text
    ]
    assert found == []
