"""The inventory counts what is there, and shows no secret."""

from __future__ import annotations

import psycopg
from pydantic import SecretStr

from recsys.database import PostgresSettings
from recsys.monitoring import take_inventory
from recsys.object_store import S3Settings
from recsys.releases import promote_release
from recsys.services import Services
from tests.actors import an_actor
from tests.release_maker import Releases


def test_what_a_promotion_made_is_listed(services: Services, releases: Releases) -> None:
    release = releases.candidate(1)
    promote_release(services, release, actor=an_actor())
    found = take_inventory(services)
    [listed] = found["releases"]
    stored = services.store.objects("")
    of_release = [each.size for each in stored if each.key.startswith(f"releases/{release}/")]
    assert (listed["release_id"], listed["state"]) == (release, "champion")
    assert listed["bytes"] == sum(of_release) > 0
    bucket = found["bucket"]
    assert bucket["objects"] == len(stored)
    assert bucket["bytes"] == sum(each.size for each in stored)
    assert sum(each["bytes"] for each in bucket["folders"]) == bucket["bytes"]
    assert sum(each["objects"] for each in bucket["folders"]) == bucket["objects"]
    assert bucket["other"] == {"objects": 0, "bytes": 0}

    for key in ("photos/1.jpg", "releases.txt", "latest.json.bak"):
        services.store.put_bytes(key, b"12345")
    beside = take_inventory(services)["bucket"]
    assert beside.pop("other") == {"objects": 3, "bytes": 15}
    assert beside == {name: value for name, value in bucket.items() if name != "other"}


def test_every_table_of_our_schemas_and_no_other_is_listed(
    services: Services, releases: Releases
) -> None:
    releases.candidate(1)
    with services.connect() as conn:
        conn.execute("create table public.of_others (id int); create schema recsysother")
        conn.execute("create table recsysother.of_others (id int)")
        expected = {
            (schema, name): size
            for schema, name, size in conn.execute(
                "select schemaname, tablename,"
                " pg_total_relation_size(format('%I.%I', schemaname, tablename)::regclass)"
                " from pg_tables where schemaname in ('recsys', 'recsys_live')"
            )
        }
    tables = take_inventory(services)["database"]["tables"]
    found = {(each["schema"], each["name"]): each for each in tables}
    assert "of_others" not in {name for _, name in found}
    assert len(expected) > 5
    assert {
        key: each["bytes"] for key, each in found.items() if each["kind"] == "table"
    } == expected


def test_roles_with_rights_on_our_schemas_are_listed(
    services: Services, releases: Releases
) -> None:
    releases.candidate(1)
    with services.connect() as conn:
        owner = conn.info.user
    roles = {each["name"]: each for each in take_inventory(services)["database"]["roles"]}
    assert roles[owner]["may_log_in"]
    assert "usage on recsys" in roles[owner]["rights"]


def test_before_the_first_run_there_is_nothing(postgres_dsn: str, s3_settings: S3Settings) -> None:
    empty = Services(PostgresSettings(dsn=SecretStr(postgres_dsn)), s3_settings)
    found = take_inventory(empty)
    assert found["releases"] == []
    assert found["database"]["tables"] == []
    assert found["bucket"]["objects"] == 0


def test_no_password_is_in_it(services: Services) -> None:
    dsn = psycopg.conninfo.conninfo_to_dict(services.postgres.dsn.get_secret_value())
    keys = [services.s3.secret_key.get_secret_value()] if services.s3.secret_key else []
    text = str(take_inventory(services))
    for secret in [dsn.get("password"), *keys]:
        assert not secret or str(secret) not in text
