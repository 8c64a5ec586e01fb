"""SQL on the ledger's tables is in the packages ledger, releases and alerts only."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from recsys.ledger import migrations
from tests.source_files import source_files

SOURCES: Final = ("src/recsys", "dags", "plugins", "trainer", "spark", "site/recsys_site", "docker")
OWNERS: Final = ("src/recsys/ledger/", "src/recsys/releases/", "src/recsys/alerts/")
_SQL_BEFORE_TABLE: Final = r"\b(?:from|join|into|update|table|truncate|only|using|,)\s+"


@functools.cache
def ledger_tables() -> set[str]:
    """Names of the tables that the migrations create, the table of migrations included."""
    text = " ".join(migration.text for migration in migrations.available())
    created = set(re.findall(r"create table recsys\.(\w+)", text))
    return created - set(re.findall(r"drop table recsys\.(\w+)", text)) | {"migrations"}


def statements(source: str) -> Iterator[str]:
    """Yields the constants and identifiers of a module that name a table of the ledger as SQL."""
    tables = "|".join(sorted(ledger_tables()))
    pattern = re.compile(rf"{_SQL_BEFORE_TABLE}\"?recsys\"?\.\"?(?:{tables})\b", re.IGNORECASE)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if pattern.search(node.value):
                yield f"line {node.lineno}: {node.value[:60]!r}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Identifier"):
            names = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            if len(node.args) > 1 and ledger_tables() & set(names):
                yield f"line {node.lineno}: {ast.unparse(node)}"


def test_the_tables_are_those_of_the_migrations() -> None:
    assert ledger_tables() == {
        "alerts",
        "decisions",
        "erased_users",
        "erasure_key",
        "history",
        "identity",
        "journal",
        "migrations",
        "forward_tests",
        "release_moves",
        "releases",
    }


@pytest.mark.parametrize(
    "source",
    [
        'conn.execute("select 1 from recsys.journal where closed_at is null")',
        'conn.execute("update recsys.releases set state = %s")',
        "conn.execute(f'insert into recsys.history ({names}) values (1)')",
        'conn.execute("select a from x join recsys.decisions d using (release_id)")',
        'sql.Identifier("recsys", "alerts")',
        'sql.Identifier(contract.LEDGER_SCHEMA, "releases")',
    ],
)
def test_a_statement_is_found(source: str) -> None:
    assert len(list(statements(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        'conn.execute("select * from recsys.current_release")',
        'Metric("recsys.releases", GAUGE, "releases in the ledger")',
        'conn.execute("select * from recsys.movie_vectors_1")',
        "from recsys.alerts import AlertSettings",
    ],
)
def test_the_public_view_metric_names_and_imports_are_no_statements(source: str) -> None:
    assert list(statements(source)) == []


def test_only_the_owners_contain_sql_on_the_ledgers_tables(repository: Path) -> None:
    found = []
    for path in (p for source in SOURCES for p in source_files(repository / source, ".py")):
        name = path.relative_to(repository).as_posix()
        if not name.startswith(OWNERS):
            found += [f"{name} {statement}" for statement in statements(path.read_text())]
    assert found == [], "move these to recsys.ledger, recsys.releases or recsys.alerts"
