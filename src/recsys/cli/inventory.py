"""The command `inventory`."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Sequence
from typing import Any, Final

from recsys.cli import output
from recsys.cli.output import JsonOption, console

_OF_AIRFLOW: Final = "recsys_dag."
_AIRFLOW_INVENTORY: Final = "recsys_dag.inventory:inventory_of_command_line"


def inventory(as_json: JsonOption = False) -> None:
    """List what there is: releases, tables, objects, roles, and what Airflow has.

    For moving to other servers: compare it before and after. It shows names and sizes, no content
    and no secret; row counts are PostgreSQL's estimates.

    In a container of Airflow it also lists Connections, variables, pools, and DAGs with their last
    runs. Elsewhere `airflow` is null.
    """
    from recsys.monitoring import take_inventory

    with output.services() as services:
        found = take_inventory(services) | {"airflow": _airflow()}
    if as_json:
        output.print_json(found)
        return
    _print(found)


def _airflow() -> dict[str, Any] | None:
    if not os.environ.get("RECSYS_SERVICES", "").startswith(_OF_AIRFLOW):
        return None
    found: dict[str, Any] = pkgutil.resolve_name(_AIRFLOW_INVENTORY)()
    return found


def _print(found: dict[str, Any]) -> None:
    database, bucket = found["database"], found["bucket"]
    releases = ("release_id", "state", "promoted_at", "tables", "bytes")
    _table("Releases", found["releases"], releases)
    tables = ("schema", "name", "kind", "estimated_rows", "bytes")
    _table(f"Tables of {database['name']}", database["tables"], tables)
    _table("Roles of the database", database["roles"], ("name", "may_log_in", "rights"))
    _table(f"Objects of {bucket['name']}", bucket["folders"], ("prefix", "objects", "bytes"))
    if (other := bucket["other"])["objects"]:
        console.print(
            f"Of other applications: {other['objects']:,} objects, {other['bytes']:,} bytes.\n",
            style="dim",
        )
    if (airflow := found["airflow"]) is None:
        console.print("Airflow is listed only in a container of Airflow.", style="dim")
        return
    connections = ("conn_id", "conn_type", "host", "port", "extra_fields", "where")
    _table("Connections", airflow["connections"], connections)
    _table("Variables", airflow["variables"], ("key", "where"))
    _table("Pools", airflow["pools"], ("name", "slots"))
    _table("DAGs", airflow["dags"], ("dag_id", "is_paused", "last_run", "last_state"))


def _table(title: str, rows: Sequence[dict[str, Any]], fields: Sequence[str]) -> None:
    numbers = {"bytes", "objects", "tables", "estimated_rows", "slots", "port"}
    names = [f" {each}" if each in numbers else each for each in fields]
    made = output.table(*(name.replace("_", " ") for name in names), title=title)
    for row in rows:
        made.add_row(*(_text(row[each], each) for each in fields))
    console.print(made)
    console.print()


def _text(value: Any, field: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value) if field == "port" else f"{value:,}"
    if isinstance(value, list):
        return output.safe(", ".join(map(str, value)))
    return output.safe(f"{value:%Y-%m-%d %H:%M}" if hasattr(value, "strftime") else str(value))
