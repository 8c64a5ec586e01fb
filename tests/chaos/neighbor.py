"""Another application in the same database and bucket, and a digest of all that is its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import psycopg
from psycopg import sql

from recsys.contract import LIVE_SCHEMA
from recsys.object_store import ObjectStore

ROLE = "chaos_shop"
OBJECTS = (
    "uploads/photo.bin",
    "latest_model.keras.bak",
    "latest_model",
    "latest.json.old",
    "owner.json.example",
    "releases",
    "releases.txt",
    "releases-archive/manifest.json",
    "features-old/part.parquet",
    "datasets.csv",
    "incoming.log",
    "models/releases/manifest.json",
)
"""Keys beside those of this project, some of them with the same beginning."""
_MAKE = f"""
create schema extensions;
create extension vector schema extensions;
create schema shop;
create table shop.orders (id serial primary key, item text not null, taste extensions.halfvec(3));
insert into shop.orders (item, taste) values ('tea', '[1,2,3]'), ('ink', '[3,2,1]');
create index on shop.orders using hnsw (taste extensions.halfvec_l2_ops);
create table shop.movie_vectors (movieid integer primary key, vector text);
insert into shop.movie_vectors values (1, 'not of this project');
create table public.releases (release_id text primary key, state text default 'champion');
insert into public.releases values ('v1'), ('v2');
create table public.journal (line text);
create view shop.best as select item from shop.orders where id = 1;
create materialized view public.current_release as select max(release_id) as name from releases;
create function shop.price(n integer) returns integer language sql as 'select n * 2';
create function shop.mark() returns trigger language plpgsql as 'begin return new; end';
create trigger mark before update on shop.orders for each row execute function shop.mark();
create type shop.size as enum ('s', 'm');
create domain public.vector_name as text check (value <> '');
create sequence public.champion;
create policy own on shop.orders using (true);
create statistics shop.both on id, item from shop.orders;
comment on table shop.orders is 'what people buy';
grant usage on schema shop to {ROLE};
grant select, insert on shop.orders to {ROLE} with grant option;
grant execute on function shop.price to {ROLE};
revoke execute on function shop.price from public;
alter default privileges in schema shop grant select on tables to {ROLE};
"""
_OWN = "select oid from pg_namespace where nspname !~ '^(pg_|recsys|information_schema$)'"
_RELATIONS = f"select oid from pg_class where relnamespace in ({_OWN})"
_DATABASE = "(select oid from pg_database where datname = current_database())"
_ROLE = f"(select oid from pg_roles where rolname = '{ROLE}')"
# What vacuum and analyze of the server itself change.
_VOLATILE = (
    "{relpages,reltuples,relallvisible,relallfrozen,relfrozenxid,relminmxid,datfrozenxid,"
    "datminmxid,reltoastrelid,dathasloginevt}"
)
_CATALOGS = {
    "pg_namespace": f"oid in ({_OWN}) or nspname in ('pg_catalog', 'information_schema')",
    "pg_class": f"relnamespace in ({_OWN})",
    "pg_attribute": f"attrelid in ({_RELATIONS})",
    "pg_attrdef": f"adrelid in ({_RELATIONS})",
    "pg_constraint": f"connamespace in ({_OWN})",
    "pg_index": f"indrelid in ({_RELATIONS})",
    "pg_trigger": f"tgrelid in ({_RELATIONS})",
    "pg_rewrite": f"ev_class in ({_RELATIONS})",
    "pg_policy": f"polrelid in ({_RELATIONS})",
    "pg_statistic_ext": f"stxnamespace in ({_OWN})",
    "pg_proc": f"pronamespace in ({_OWN})",
    "pg_type": f"typnamespace in ({_OWN})",
    "pg_operator": f"oprnamespace in ({_OWN})",
    "pg_opclass": f"opcnamespace in ({_OWN})",
    "pg_depend": f"objid in ({_RELATIONS})",
    "pg_description": f"objoid in ({_RELATIONS})",
    "pg_default_acl": "true",
    "pg_extension": "true",
    "pg_event_trigger": "true",
    "pg_publication": "true",
    "pg_foreign_server": "true",
    "pg_language": "true",
    "pg_cast": "true",
    "pg_roles": f"oid = {_ROLE}",
    "pg_auth_members": f"member = {_ROLE} or roleid = {_ROLE}",
    "pg_database": f"oid = {_DATABASE}",
}
"""The rows of each catalog that are not of this project."""


def move_in(conn: psycopg.Connection, store: ObjectStore) -> None:
    """Makes the other application's schemas, role, settings and objects."""
    [(name,)] = conn.execute("select current_database()").fetchall()
    database = sql.Identifier(name)
    if conn.execute("select from pg_roles where rolname = %s", (ROLE,)).fetchone() is None:
        conn.execute(sql.SQL("create role {}").format(sql.Identifier(ROLE)))
    conn.execute(sql.SQL(_MAKE))
    for statement in (
        'alter database {} set search_path = "$user", shop, extensions, public',
        "alter database {} set work_mem = '5MB'",
        f"alter role {ROLE} in database {{}} set search_path = shop, extensions",
        f"grant connect on database {{}} to {ROLE}",
    ):
        conn.execute(sql.SQL(statement).format(database))
    for key in OBJECTS:
        store.put_bytes(key, f"content of {key}".encode(), {"owner": "shop", "key": key})


def move_out(conn: psycopg.Connection) -> None:
    """Drops the role, which is of the whole server; its database is dropped by the test."""
    conn.execute(sql.SQL("drop owned by {}").format(sql.Identifier(ROLE)))
    conn.execute(sql.SQL("drop role {}").format(sql.Identifier(ROLE)))


def belongings(conn: psycopg.Connection, store: ObjectStore) -> dict[str, list[str]]:
    """Returns everything that is not of this project: rows of catalogs, tables, and objects."""
    found = {name: list(_catalog(conn, name, where)) for name, where in _CATALOGS.items()}
    found["settings"] = list(_settings(conn))
    tables = conn.execute(
        f"select relnamespace::regnamespace || '.' || relname from pg_class "
        f"where oid in ({_RELATIONS}) and relkind in ('r', 'm', 'S') order by 1"
    ).fetchall()
    for (name,) in tables:
        rows = conn.execute(
            sql.SQL("select ctid::text, xmin::text, row(t.*)::text from {} t order by ctid").format(
                sql.Identifier(*name.split("."))
            )
        ).fetchall()
        found[f"table {name}"] = [str(row) for row in rows]
    found["objects"] = [_object(store, key) for key in OBJECTS]
    return found


def _catalog(conn: psycopg.Connection, name: str, where: str) -> Iterator[str]:
    rows = conn.execute(
        f"select (to_jsonb(c) - '{_VOLATILE}'::text[])::text from {name} c where {where} order by 1"
    ).fetchall()
    yield from (text for (text,) in rows)


def _settings(conn: psycopg.Connection) -> Iterator[str]:
    """Settings of the database and of roles in it, without what this project adds to the path."""
    rows = conn.execute(
        "select setrole::regrole::text, setting from pg_db_role_setting, unnest(setconfig) setting "
        f"where setdatabase in (0, {_DATABASE}) order by 1, 2"
    ).fetchall()
    for role, setting in rows:
        plain = setting.removesuffix(f", {LIVE_SCHEMA}") if role == "-" else setting
        yield f"{role}: {plain}"


def _object(store: ObjectStore, key: str) -> str:
    answer = store._client.get_object(Bucket=store.bucket, Key=key)
    digest = hashlib.sha256(answer["Body"].read()).hexdigest()
    # The time shows that it was not even written again with the same content.
    return f"{key} {digest} {answer['ETag']} {answer['LastModified']} {answer['Metadata']}"
