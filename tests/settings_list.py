"""The settings of the product, found in its code: the list that documents and manifests follow."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import Final

from pydantic_settings import BaseSettings

ROOT: Final = Path(__file__).resolve().parents[1]
VARIABLE: Final = re.compile(r"\bRECSYS_[A-Z][A-Z0-9_]*[A-Z0-9]")
AIRFLOW: Final = (("src", "recsys"), ("dags", "recsys_dag"), ("plugins", "recsys_plugin"))
"""Packages of Airflow's processes and of the command line."""
SITE: Final = (("site", "recsys_site"),)
_READERS: Final = {"get", "getenv", "pop", "read_json", "__getitem__"}


def settings_modules(packages: tuple[tuple[str, str], ...]) -> list[ModuleType]:
    """Returns all modules that define typed settings."""
    return [
        importlib.import_module(".".join(path.relative_to(ROOT / root).with_suffix("").parts))
        for root, package in packages
        for path in sorted((ROOT / root / package).rglob("*.py"))
        if "import BaseSettings" in path.read_text()
    ]


def typed_variables(packages: tuple[tuple[str, str], ...]) -> set[str]:
    """Returns the variables that typed settings read."""
    found = set()
    for module in settings_modules(packages):
        for made in vars(module).values():
            if isinstance(made, type) and issubclass(made, BaseSettings):
                prefix = made.model_config.get("env_prefix") or ""
                found |= {
                    (prefix + name).upper()
                    for name, field in made.model_fields.items()
                    if not field.validation_alias
                }
    return {name for name in found if VARIABLE.fullmatch(name)}


def plain_variables(packages: tuple[tuple[str, str], ...]) -> set[str]:
    """Returns the variables that are read one by one: ``os.environ[...]``, ``.get(...)``."""
    found = set()
    for root, package in packages:
        for path in sorted((ROOT / root / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Subscript):
                    read = [node.slice] if "environ" in ast.unparse(node.value) else []
                elif isinstance(node, ast.Call):
                    called = ast.unparse(node.func)
                    read = node.args if called.rpartition(".")[2] in _READERS else []
                else:
                    continue
                found |= {
                    argument.value
                    for argument in read
                    if isinstance(argument, ast.Constant)
                    and isinstance(argument.value, str)
                    and VARIABLE.fullmatch(argument.value)
                }
    return found


def airflow_variables() -> set[str]:
    """Returns what Airflow's processes and the command line read."""
    return typed_variables(AIRFLOW) | plain_variables(AIRFLOW)


def site_variables() -> set[str]:
    """Returns what the site reads."""
    return typed_variables(SITE) | plain_variables(SITE)
