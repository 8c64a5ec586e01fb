"""Prints the structure of `recsys`: packages (rooms), their modules, and imports between them.

    python -m tests.architecture            # a table
    python -m tests.architecture --mermaid  # the picture of docs/architecture.md

The import contracts in pyproject.toml are the rules; this shows what the code does within them.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import grimp
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
ROOTS = ("recsys", "recsys_dag", "recsys_plugin", "trainer", "verifier")


@dataclass(frozen=True)
class Structure:
    """Packages and the imports between them.

    Attributes:
        modules: number of modules in each package.
        arrows: number of imports for each pair (importer, imported) of packages.
    """

    modules: Counter[str]
    arrows: Counter[tuple[str, str]]

    def imports_of(self, package: str) -> list[str]:
        """The packages that ``package`` imports, sorted."""
        return sorted(imported for importer, imported in self.arrows if importer == package)


def package_of(module: str) -> str:
    """``recsys.vectors.rows`` -> ``vectors``; other roots are one package each."""
    root, *rest = module.split(".")
    return rest[0] if root == "recsys" and rest else root


def read_structure() -> Structure:
    """Builds the structure from the sources; nothing of them is run."""
    graph = grimp.build_graph(*ROOTS, include_external_packages=False)
    modules = Counter(package_of(module) for module in graph.modules if module != "recsys")
    arrows: Counter[tuple[str, str]] = Counter()
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            pair = package_of(importer), package_of(imported)
            if pair[0] != pair[1] and "recsys" not in pair:
                arrows[pair] += 1
    return Structure(modules, arrows)


def layers() -> list[list[str]]:
    """The layers of the import contract, highest first."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    [contract] = [c for c in config["contracts"] if c["type"] == "layers"]
    return [re.split(r"\s*\|\s*", layer) for layer in contract["layers"]]


def mermaid(structure: Structure) -> str:
    """The layers as a flowchart, with the imports that no other path of imports implies."""
    lines = ["flowchart TB"]
    for number, layer in enumerate(layers()):
        lines += [f'  subgraph L{number}[" "]', "    direction LR", f"    {' ~~~ '.join(layer)}"]
        lines += ["  end"]
    known = {name for layer in layers() for name in layer}
    for importer in sorted(known):
        direct = [name for name in structure.imports_of(importer) if name in known]
        implied = {far for near in direct for far in _reachable(structure, near)}
        lines += [f"  {importer} --> {name}" for name in direct if name not in implied]
    return "\n".join(lines)


def _reachable(structure: Structure, package: str) -> set[str]:
    found: set[str] = set()
    waiting = structure.imports_of(package)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += structure.imports_of(name)
    return found


def main() -> None:
    """Prints the table, or with ``--mermaid`` the picture."""
    structure = read_structure()
    if "--mermaid" in sys.argv[1:]:
        print(mermaid(structure))
        return
    table = Table("package", "modules", "imports (number of import statements)", box=None)
    order = [name for layer in layers() for name in layer]
    for package in [*ROOTS[1:], *order]:
        imported = ", ".join(
            f"{name} {structure.arrows[package, name]}" for name in structure.imports_of(package)
        )
        table.add_row(package, str(structure.modules[package]), imported or "-")
    console = Console()
    console.print(table)
    console.print(
        f"{len(structure.modules)} packages, {structure.modules.total()} modules, "
        f"{len(structure.arrows)} arrows between packages"
    )


if __name__ == "__main__":
    main()
