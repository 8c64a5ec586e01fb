"""What a recommender has on its servers, for moving it: releases, objects, tables, roles.

It reads catalogs and lists, no content, and contains no secret.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

from recsys import contract, ledger, releases
from recsys.contract import LEDGER_SCHEMA
from recsys.database import Connection
from recsys.object_store import ListedObject
from recsys.services import Services

_OURS: Final = "(n.nspname = %(ours)s or starts_with(n.nspname, %(ours)s || '_'))"
_TABLES: Final = f"""
select n.nspname, c.relname, case c.relkind when 'v' then 'view' else 'table' end,
    case when c.relkind = 'r' and c.reltuples >= 0 then c.reltuples::bigint end,
    pg_total_relation_size(c.oid)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where {_OURS} and c.relkind in ('r', 'p', 'v', 'm')
order by 1, 2
"""  # noqa: S608  # a constant of this module
_ROLES: Final = f"""
select r.rolname, r.rolcanlogin,
    array_agg(distinct lower(a.privilege_type) || ' on ' || n.nspname)
from pg_namespace n
cross join lateral aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
join pg_roles r on r.oid = a.grantee
where {_OURS}
group by 1, 2 order by 1
"""  # noqa: S608  # a constant of this module


def take_inventory(services: Services) -> dict[str, Any]:
    """Returns what this recommender has in database and bucket, as a JSON document.

    Objects of other applications in the bucket are counted as ``other``.

    Args:
        services: the servers.

    Raises:
        ServiceUnavailableError: a server does not answer.
    """
    objects = services.store.objects("")
    ours = [each for each in objects if releases.own_group(each.key)]
    with services.connect() as conn:
        return {
            "releases": _releases(conn, ours),
            "database": _database(conn),
            "bucket": {
                "name": services.store.location,
                "endpoint": services.s3.endpoint,
                "objects": len(ours),
                "bytes": sum(each.size for each in ours),
                "folders": _folders(ours),
                "other": {
                    "objects": len(objects) - len(ours),
                    "bytes": sum(each.size for each in objects) - sum(each.size for each in ours),
                },
            },
        }


def _releases(conn: Connection, objects: list[ListedObject]) -> list[dict[str, Any]]:
    if not ledger.applied(conn):
        return []
    ledger.check_current(conn)
    return [
        {
            "release_id": each.release_id,
            "state": each.state.value,
            "created_at": each.created_at,
            "promoted_at": each.promoted_at,
            "tables": len(each.tables or {}),
            "bytes": sum(
                stored.size
                for stored in objects
                if stored.key.startswith(contract.release_prefix(each.release_id))
            ),
        }
        for each in ledger.all_releases(conn)
    ]


def _database(conn: Connection) -> dict[str, Any]:
    ours = {"ours": LEDGER_SCHEMA}
    info = conn.info
    return {
        "name": info.dbname,
        "host": info.host,
        "port": info.port,
        "tables": [
            {"schema": schema, "name": name, "kind": kind, "estimated_rows": rows, "bytes": size}
            for schema, name, kind, rows, size in conn.execute(_TABLES, ours)
        ],
        "roles": [
            {"name": name, "may_log_in": login, "rights": rights}
            for name, login, rights in conn.execute(_ROLES, ours)
        ],
    }


def _folders(ours: list[ListedObject]) -> list[dict[str, Any]]:
    sizes: defaultdict[str, list[int]] = defaultdict(list)
    for each in ours:
        sizes[releases.own_group(each.key) or each.key].append(each.size)
    return [
        {"prefix": prefix, "objects": len(found), "bytes": sum(found)}
        for prefix, found in sorted(sizes.items())
    ]
