"""What the site would find: public names, the row of the current release, and its rights."""

from __future__ import annotations

from recsys import ledger, releases
from recsys.contract import LIVE_SCHEMA, PUBLIC_TABLES, table_name
from recsys.database import Connection
from recsys.errors import ArtifactError
from recsys.ledger import Release, State


def site_problems(conn: Connection, champion: Release) -> list[str]:
    """Returns a message for everything that keeps the site from reading the champion."""
    messages = []
    live = releases.live_tables(conn)
    for table in PUBLIC_TABLES:
        expected = table_name(table.name, champion.release_id)
        if live.get(table.name) != expected:
            messages.append(
                f"the public name {table.name} is {live.get(table.name) or 'missing'} instead of "
                f"the champion's {expected}; run `recsys recover`, which makes it again"
            )
    messages += _current_release_problems(conn, champion)
    return messages + _access_problems(conn, champion) + _shadowed_names(conn)


def not_comparable(what: str, champion: Release) -> str:
    """Returns the message about something that only the champion's manifest could confirm."""
    return (
        f"{what} cannot be compared with the champion {champion.release_id}, because its manifest "
        "in the ledger is damaged; roll back to another release, or restore its row from a backup"
    )


def _current_release_problems(conn: Connection, champion: Release) -> list[str]:
    try:
        if ledger.current_release_is_right(conn, champion):
            return []
    except ArtifactError:
        return [not_comparable("recsys.current_release", champion)]
    return [
        "recsys.current_release does not show the champion; run `recsys recover`, which makes the "
        "view again"
    ]


def _access_problems(conn: Connection, champion: Release) -> list[str]:
    """Returns what the site cannot read, and the earlier champions whose views are not complete."""
    earlier = [
        release.release_id
        for release in ledger.retained_releases(conn)
        if release.state in (State.SUPERSEDED, State.ROLLED_BACK)
    ]
    messages = releases.site_problems(conn, [champion.release_id, *earlier])
    messages += [
        f"views of release {release_id} are missing or changed; run `recsys recover`, which makes "
        "them again"
        for release_id in releases.without_views(conn, earlier)
    ]
    return messages


def _shadowed_names(conn: Connection) -> list[str]:
    """Returns public names that mean something else, earlier on the search path."""
    rows = conn.execute(
        "select name, n.nspname from unnest(%s::text[]) as name "
        "join pg_class c on c.oid = to_regclass(name) "
        "join pg_namespace n on n.oid = c.relnamespace where n.nspname <> %s order by 1",
        ([table.name for table in PUBLIC_TABLES], LIVE_SCHEMA),
    ).fetchall()
    return [
        f"the name {name} means {schema}.{name} on the search path of the database: rename that "
        f"one, move {LIVE_SCHEMA} before {schema}, or let readers ask for {LIVE_SCHEMA}.{name}"
        for name, schema in rows
    ]
