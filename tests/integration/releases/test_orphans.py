"""Orphans are found and deleted; everything else in database and bucket stays byte for byte."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from psycopg import sql

from recsys import contract, ledger, monitoring, vectors
from recsys.contract import OWNER_KEY, PUBLIC_TABLES, Build, table_name
from recsys.errors import LedgerError
from recsys.ledger import Action, State
from recsys.releases import (
    RetentionSettings,
    delete_orphans,
    find_orphans,
    orphans,
    promote_release,
    public_names,
    retire_old_releases,
)
from recsys.services import Services
from tests.actors import an_actor
from tests.release_maker import Releases

NONE = timedelta(seconds=-60)
"""A grace period that everything is older than."""
MD5 = "ab" * 16
UNKNOWN = "00000000-00000000"
COMPLETE = "00000000-11111111"
FINGERPRINT = "f" * 16
FOREIGN_KEYS = [
    *(f"datasets/{MD5}/photo.jpg", f"features/{MD5}/{'f' * 16}/model.bin", f"features/{MD5}/x"),
    *(f"releases/{UNKNOWN}/app.tar", f"incoming/{UNKNOWN}/{'n' * 8}/mail"),
    *("datasets/other/file", f"datasets/{MD5.upper()}/file", "datasets/readme"),
    *(f"features/{MD5[:-1]}/x", f"features/{MD5}x/x", "features/models/1", "features/x.parquet"),
    *("releases/1.2.3/app.tar", f"releases/{UNKNOWN}.zip", f"old/releases/{UNKNOWN}/model.keras"),
    *(f"releases/{UNKNOWN}/forward/{UNKNOWN}.parquet", f"features/{MD5}/x/forward/x.parquet"),
    *("incoming/mail", "data/0", OWNER_KEY),
]


def load(services: Services, release_id: str) -> None:
    with services.connect() as conn:
        vectors.enable_vector_extension(conn)
        for table in PUBLIC_TABLES:
            matrix = np.eye(3, table.dimension, dtype=np.float32)
            extra = {name: [[1]] * 3 for name, _ in table.extra_columns}
            vectors.load_vectors(
                conn, table, release_id, np.arange(1, 4, dtype=np.int32), matrix, extra
            )
        public_names.create_views(conn, release_id)


def put(services: Services, *keys: str) -> set[str]:
    for key in keys:
        services.store.put_bytes(key, key.encode())
    return set(keys)


def contents(services: Services) -> dict[str, bytes]:
    return {key: services.store.get_bytes(key) for key in services.store.keys("")}


def relations(services: Services) -> set[str]:
    with services.connect() as conn:
        rows = conn.execute(
            "select n.nspname || '.' || c.relname from pg_class c "
            "join pg_namespace n on n.oid = c.relnamespace where n.nspname !~ '^(pg_|information)'"
        )
        return {name for (name,) in rows}


def names(services: Services, **options: bool) -> set[str]:
    with services.connect() as conn:
        found = find_orphans(conn, services.store, grace=NONE, **options)
    return {orphan.release_id or orphan.name for orphan in found}


@pytest.fixture
def world(services: Services, releases: Releases) -> Build:
    """A retired, an earlier and a live release, a candidate, and a build, which has files already.

    Returns:
        The retired build.
    """
    for number in (1, 2, 3):
        promote_release(services, releases.candidate(number), actor=an_actor())
    retire_old_releases(services, RetentionSettings(keep_releases=0), actor=an_actor())
    releases.candidate(4)
    building = releases.begin(5)
    for number in (2, 3, 4, 5):
        build = releases.build(number)
        put(
            services,
            build.features_key("stats.json"),
            contract.titles_key(build.dataset_md5),
            contract.dataset_key(build.dataset_md5, contract.DATASET_FILE),
        )
    put(services, contract.checkpoint_key(building, "evaluated"))
    return releases.build(1)


def test_only_orphans_are_deleted_and_only_once(services: Services, world: Build) -> None:
    put(services, *FOREIGN_KEYS[:-1])
    with services.connect() as conn:
        conn.execute("create schema recsys_views")
        conn.execute("create table recsys.movie_vectors_00000000_0000000 (movieid integer)")
        conn.execute("create table public.movie_vectors_00000000_00000000 (movieid integer)")
        conn.execute("create table recsys.movie_towers_22222222_22222222 (movieid integer)")
    assert names(services) == set()
    objects, tables = contents(services), relations(services)
    md5 = world.dataset_md5
    put(
        services,
        contract.dataset_key(md5, contract.DATASET_FILE),
        contract.titles_key(md5),
        world.features_key("stats.json"),
        contract.spark_prefix(world.features_prefix) + f"{MD5}/blocks/000000",
        contract.forward_pairs_key(world.features_prefix, COMPLETE),
        f"features/{md5}/interactions.parquet",
        contract.release_key(world.release_id, "model.keras"),
        f"incoming/{world.release_id}/{'n' * 8}/model.keras",
        contract.release_key(UNKNOWN, "model.keras"),
        contract.checkpoint_key(UNKNOWN, "evaluated"),
        f"incoming/{UNKNOWN}/{'n' * 8}/model.keras",
        contract.inbox_key(UNKNOWN, "n" * 8, contract.forward_file(COMPLETE)),
        f"features/{MD5}/{FINGERPRINT}/movies.parquet",
    )
    load(services, world.release_id)
    load(services, UNKNOWN)
    expected = {
        *(f"datasets/{md5}/", contract.titles_key(md5), world.features_prefix, f"features/{md5}/"),
        *(f"releases/{world.release_id}/", f"incoming/{world.release_id}/", world.release_id),
        *(
            f"releases/{UNKNOWN}/",
            f"incoming/{UNKNOWN}/",
            f"features/{MD5}/{FINGERPRINT}/",
            UNKNOWN,
        ),
    }
    assert names(services) == expected
    with services.connect() as conn:
        assert find_orphans(conn, services.store)[1:] == [], "only tables without an age"
    done = delete_orphans(services, actor=an_actor(), grace=NONE)
    assert {orphan.release_id or orphan.name for orphan in done.deleted} == expected
    assert done.skipped == {}
    assert contents(services) == objects
    assert relations(services) == tables
    assert delete_orphans(services, actor=an_actor(), grace=NONE).deleted == ()
    with services.connect() as conn:
        events = [e for e in ledger.history(conn) if e["action"] == Action.ORPHANS_DELETED]
    assert len(events) == 1


def test_a_complete_release_that_the_ledger_does_not_know_needs_a_decision(
    services: Services, world: Build
) -> None:
    """A ledger that was restored from a backup is older than it."""
    before = contents(services)
    put(
        services,
        *(contract.release_key(COMPLETE, name) for name in ("manifest.json", "model.keras")),
    )
    load(services, COMPLETE)
    assert names(services) == set()
    assert delete_orphans(services, actor=an_actor(), grace=NONE).deleted == ()
    assert names(services, complete=True) == {f"releases/{COMPLETE}/", COMPLETE}
    delete_orphans(services, actor=an_actor(), grace=NONE, complete=True)
    assert contents(services) == before


def test_a_ledger_that_is_not_of_this_bucket_deletes_nothing(
    services: Services, world: Build
) -> None:
    put(services, contract.release_key(UNKNOWN, "model.keras"))
    owner = services.store.get_bytes(OWNER_KEY)
    services.store.put_bytes(OWNER_KEY, b'{"ledger_id": "another"}')
    assert names(services) == set()
    with pytest.raises(LedgerError, match="cannot tell what is an orphan"):
        delete_orphans(services, actor=an_actor(), grace=NONE)
    services.store.put_bytes(OWNER_KEY, owner)
    head = services.store.head(contract.PUBLIC_MODEL_KEY)
    assert head is not None
    labels = head.metadata
    services.store.put_bytes(
        contract.PUBLIC_MODEL_KEY, b"", {**labels, contract.RELEASE_ID_TAG: UNKNOWN}
    )
    with pytest.raises(LedgerError, match="public objects of a release"):
        delete_orphans(services, actor=an_actor(), grace=NONE)
    assert names(services) == {f"releases/{UNKNOWN}/"}


def test_what_others_use_or_build_again_is_skipped(
    services: Services, releases: Releases, world: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(services, UNKNOWN)
    own = table_name("movie_vectors", UNKNOWN)
    with services.connect() as conn:
        conn.execute(
            sql.SQL("create view public.mine as select * from recsys.{}").format(
                sql.Identifier(own)
            )
        )
    key = contract.release_key(world.release_id, "model.keras")
    put(services, key)
    find = orphans.find_orphans

    def find_and_begin(*args: object, **options: object) -> object:
        found = find(*args, **options)  # type: ignore[arg-type]
        releases.begin(1)
        return found

    monkeypatch.setattr(orphans, "find_orphans", find_and_begin)
    done = delete_orphans(services, actor=an_actor(), grace=NONE)
    assert done.deleted == ()
    assert next(iter(done.skipped.values())).count("recsys.movie_vectors_00000000_00000000")
    assert services.store.head(key) is not None
    with services.connect() as conn:
        assert ledger.get(conn, world.release_id).state == State.BUILDING
        assert conn.execute("select count(*) from public.mine").fetchone() == (3,)


def test_doctor_names_orphans(services: Services, world: Build) -> None:
    assert monitoring.problems(services) == []
    load(services, UNKNOWN)
    [problem] = monitoring.problems(services)
    assert table_name("movie_vectors", UNKNOWN) in problem
    assert "recsys clean" in problem
