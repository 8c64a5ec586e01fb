"""What readers of the public names see before, during and after a promotion."""

from __future__ import annotations

import psycopg

from recsys.contract import PUBLIC_TABLES, table_name
from tests.live_release import assert_live, promote


def test_clients_find_the_public_names_without_settings(services, releases, prepared_dsn):
    promote(services, releases.candidate(1))
    with psycopg.connect(prepared_dsn) as plain:
        for table in PUBLIC_TABLES:
            rows = plain.execute(f"select count(*) from {table.name}").fetchone()
            assert rows[0] == (5 if table.id_column == "userid" else 12)


def test_the_site_role_can_read_after_every_switch(services, releases, prepared_dsn):
    promote(services, releases.candidate(1))
    with psycopg.connect(prepared_dsn, autocommit=True) as site:
        site.execute("set role recsys_site")
        for number in (2, 3):
            promote(services, releases.candidate(number))
            site.execute("select * from movie_vectors limit 1").fetchall()
            row = site.execute("select movie_towers_table from recsys.current_release").fetchone()
            site.execute(f"select * from {row[0]} limit 1").fetchall()


def test_prepared_readers_see_the_new_release_without_an_error(services, releases, prepared_dsn):
    promote(services, releases.candidate(1))
    with psycopg.connect(prepared_dsn, autocommit=True) as reader:
        query = "select vector::text from movie_vectors where movieid = 1"
        before = reader.execute(query, prepare=True).fetchone()
        promote(services, releases.candidate(2))
        assert reader.execute(query, prepare=True).fetchone() != before


def test_an_open_transaction_of_a_reader_does_not_delay_the_switch(
    services, releases, prepared_dsn
):
    first, second = releases.candidate(1), releases.candidate(2)
    promote(services, first)
    with psycopg.connect(prepared_dsn) as slow:
        slow.execute("select count(*) from movie_vectors")
        promote(services, second)
        assert_live(services, second, releases.model_bytes(2))


def test_the_view_current_release_names_every_public_table(services, releases):
    """The view is created by a migration: a new public table needs a column in a new migration."""
    release_id = releases.candidate(1)
    promote(services, release_id)
    with services.connect() as conn:
        cursor = conn.execute("select * from recsys.current_release")
        [row] = cursor.fetchall()
        columns = [column.name for column in cursor.description or ()]
    tables = {
        name.removesuffix("_table"): value
        for name, value in zip(columns, row, strict=True)
        if name.endswith("_table")
    }
    assert tables == {
        table.name: f"recsys.{table_name(table.name, release_id)}" for table in PUBLIC_TABLES
    }
