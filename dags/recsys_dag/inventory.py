"""What this Airflow has: Connections, variables, pools, and DAGs with their last runs; no secret.

Of a Connection it shows the type, the host and the names of its extra fields, of a variable
its key. A host may be a URL with a token in it, so only the name of the machine is shown.
"""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from airflow.models.connection import Connection
    from sqlalchemy.orm import Session

_CONNECTION: Final = "AIRFLOW_CONN_"
_VARIABLE: Final = "AIRFLOW_VAR_"
_METADATA: Final = "metadata database"
_ENVIRONMENT: Final = "environment"


def inventory_of_command_line() -> dict[str, Any]:
    """Returns the inventory, for the command ``recsys inventory`` in a container of Airflow."""
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    # Airflow's libraries log to standard output, which is for the command's result.
    with redirect_stdout(sys.stderr):
        from airflow.utils.session import create_session

        with create_session() as session:
            return {
                "connections": _connections(session),
                "variables": _variables(session),
                "pools": _pools(session),
                "dags": _dags(session),
            }


def _connections(session: Session) -> list[dict[str, Any]]:
    from airflow.models.connection import Connection
    from sqlalchemy import select

    found = {
        each.conn_id: _connection(each, _METADATA) for each in session.scalars(select(Connection))
    }
    # Airflow reads the environment first.
    for conn_id in _in_environment(_CONNECTION):
        found[conn_id] = _connection(_read_variable(conn_id), _ENVIRONMENT)
    return [found[conn_id] for conn_id in sorted(found)]


def _read_variable(conn_id: str) -> Connection:
    from airflow.models.connection import Connection
    from airflow.sdk.exceptions import AirflowException

    value = os.environ[_CONNECTION + conn_id.upper()]
    try:
        if value.lstrip().startswith("{"):
            return Connection.from_json(value, conn_id=conn_id)
        return Connection(conn_id=conn_id, uri=value)
    # The text of the error may contain the value.
    except (ValueError, TypeError, AirflowException):
        return Connection(conn_id=conn_id, conn_type="invalid")


def _connection(connection: Connection, where: str) -> dict[str, Any]:
    return {
        "conn_id": connection.conn_id,
        "conn_type": connection.conn_type,
        "host": _machine(connection.host),
        "port": connection.port,
        "extra_fields": sorted(connection.extra_dejson),
        "where": where,
    }


def _machine(host: str | None) -> str | None:
    if not host:
        return None
    try:
        return urlsplit(host if "://" in host else f"//{host}").hostname
    except ValueError:
        return None


def _variables(session: Session) -> list[dict[str, Any]]:
    from airflow.models.variable import Variable
    from sqlalchemy import select

    found = dict.fromkeys(session.scalars(select(Variable.key)), _METADATA)
    found |= dict.fromkeys(_in_environment(_VARIABLE), _ENVIRONMENT)
    return [{"key": key, "where": found[key]} for key in sorted(found)]


def _in_environment(prefix: str) -> list[str]:
    return [name[len(prefix) :].lower() for name in os.environ if name.startswith(prefix)]


def _pools(session: Session) -> list[dict[str, Any]]:
    from airflow.models.pool import Pool
    from sqlalchemy import select

    rows = session.execute(select(Pool.pool, Pool.slots).order_by(Pool.pool))
    return [{"name": name, "slots": slots} for name, slots in rows]


def _dags(session: Session) -> list[dict[str, Any]]:
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun
    from sqlalchemy import func, select

    newest = select(func.max(DagRun.id)).group_by(DagRun.dag_id)
    runs = {run.dag_id: run for run in session.scalars(select(DagRun).where(DagRun.id.in_(newest)))}
    rows = session.execute(select(DagModel.dag_id, DagModel.is_paused).order_by(DagModel.dag_id))
    return [
        {
            "dag_id": dag_id,
            "is_paused": paused,
            "last_run": runs[dag_id].run_after if dag_id in runs else None,
            "last_state": str(runs[dag_id].state) if dag_id in runs else None,
        }
        for dag_id, paused in rows
    ]
