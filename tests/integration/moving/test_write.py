"""An export changes nothing, is complete or none, and is read by its owner only."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from recsys import ledger, moving
from recsys.errors import ConfigurationError, LockedError, VectorError
from recsys.moving.index import INDEX_FILE
from recsys.releases import recover_promotion
from recsys.services import Services
from tests.actors import an_actor


def export(services: Services, folder: Path) -> moving.ExportIndex:
    return moving.export_recommender(services, folder, lambda done, total: None)


def test_a_folder_with_something_else_is_left_alone(old: Services, copy: Path) -> None:
    before = (copy / INDEX_FILE).read_bytes()
    with pytest.raises(ConfigurationError, match="an export"):
        export(old, copy)
    assert (copy / INDEX_FILE).read_bytes() == before
    with pytest.raises(ConfigurationError, match="not empty"):
        export(old, copy.parent)


def test_an_interrupted_export_is_written_anew(old: Services, copy: Path) -> None:
    first = moving.read_index(copy)
    (copy / INDEX_FILE).unlink()
    (copy / "files/partial").write_bytes(b"half")

    second = export(old, copy)

    assert second.objects == first.objects
    assert {path.name for path in (copy / "files").iterdir()} == set(second.files)


def test_only_its_owner_can_read_an_export(exported: Path) -> None:
    for path in (exported, *exported.rglob("*")):
        assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path


def test_a_table_that_has_changed_is_not_exported_as_if_it_were_right(
    old: Services, tmp_path: Path
) -> None:
    with old.connect() as conn:
        champion = ledger.champion(conn)
        assert champion is not None
        table = f"recsys.movie_vectors_{champion.release_id.replace('-', '_')}"
        before = conn.execute(f"select vector::text from {table} where movieid = 1").fetchone()
        conn.execute(f"update {table} set vector = vector + vector where movieid = 1")
        try:
            with pytest.raises(VectorError, match="has changed since"):
                export(old, tmp_path / "out")
        finally:
            assert before is not None
            conn.execute(f"update {table} set vector = %s::halfvec where movieid = 1", before)
    assert not (tmp_path / "out" / INDEX_FILE).exists()


def test_an_interrupted_promotion_is_recovered_first(old: Services, tmp_path: Path) -> None:
    with old.connect() as conn:
        champion = ledger.champion(conn)
        target = ledger.rollback_target(conn)
        assert champion is not None
        assert target is not None
        with conn.transaction():
            ledger.begin_journal(
                conn,
                "rollback",
                from_release=champion.release_id,
                to_release=target.release_id,
                actor=an_actor(),
            )
    try:
        with pytest.raises(LockedError, match="interrupted"):
            export(old, tmp_path / "out")
    finally:
        recover_promotion(old, actor=an_actor())
    assert export(old, tmp_path / "out").champion == champion.release_id
