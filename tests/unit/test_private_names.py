"""Tests use what a module shows: a private name that a test needs is no longer private."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

OURS: Final = ("recsys", "recsys_dag", "recsys_plugin", "recsys_site", "trainer", "verifier")


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_uses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of each private name of our modules that is imported, read or replaced."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OURS:
            names = [(alias.asname or alias.name, alias.name) for alias in node.names]
            modules |= {local for local, _ in names}
            yield from ((node.lineno, name) for _, name in names if is_private(name))
    for node in ast.walk(tree):
        for name in (*attributes(node, modules), *replaced(node)):
            if is_private(name.rpartition(".")[2]):
                yield getattr(node, "lineno", 0), name


def attributes(node: ast.AST, modules: set[str]) -> Iterator[str]:
    """``module.name`` where ``module`` is one of ours."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        if node.value.id in modules:
            yield f"{node.value.id}.{node.attr}"


def replaced(node: ast.AST) -> Iterator[str]:
    """The names that ``monkeypatch.setattr`` is given as text."""
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "setattr":
        for argument in node.args[:2]:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value


def test_no_test_uses_a_private_name(repository: Path) -> None:
    found = [
        f"{path.relative_to(repository)}:{line}: {name}"
        for path in sorted((repository / "tests").rglob("*.py"))
        for line, name in private_uses(ast.parse(path.read_text()))
    ]
    assert found == []


def test_each_kind_of_use_is_found() -> None:
    source = (
        "from recsys.vectors import _a, tables\n"
        "tables._b\n"
        "patch.setattr(tables, '_c', 1)\n"
        "patch.setattr('recsys.vectors.tables._d', 1)\n"
        "tables.__name__\n"
    )
    assert [line for line, _ in private_uses(ast.parse(source))] == [1, 2, 3, 4]
