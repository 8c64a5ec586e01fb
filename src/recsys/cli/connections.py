"""The checks of ``recsys doctor --connections``."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import typer

from recsys.cli import output
from recsys.cli.output import console

if TYPE_CHECKING:
    from recsys.monitoring import ConnectionCheck

_OF_AIRFLOW: Final = "recsys_dag."
_AIRFLOW_CHECKS: Final = "recsys_dag.connection_checks:checks_of_command_line"


def check_all(as_json: bool) -> None:
    """Checks all connections and prints the results; exits with 1 if one does not work."""
    with output.errors.status("using each connection"):
        checks = _checks()
    if as_json:
        output.print_json({"connections": [each.document() for each in checks]})
    else:
        _print_checks(checks)
    if not all(each.works for each in checks):
        raise typer.Exit(output.EXIT_FAILED)


def _checks() -> Sequence[ConnectionCheck]:
    from recsys.monitoring import check_services

    named = os.environ.get("RECSYS_SERVICES", "")
    # The servers of the environment come first, as for every other command.
    if named.startswith(_OF_AIRFLOW) and not os.environ.get("RECSYS_PG_DSN"):
        found: list[ConnectionCheck] = pkgutil.resolve_name(_AIRFLOW_CHECKS)()
        return found
    with output.services() as services:
        return check_services(services)


def _print_checks(checks: Sequence[ConnectionCheck]) -> None:
    for each in checks:
        mark = "[green]✓[/]" if each.works else "[red]✗[/]"
        address = f"  {output.safe(each.address)}" if each.address else ""
        console.print(f"{mark} [bold]{output.safe(each.name)}[/]{address}")
        console.print(f"  tried: {output.safe(', '.join(each.tried))}")
        result = f"found: {each.found}" if each.problem is None else each.problem
        console.print(f"  {output.safe(result)}")
