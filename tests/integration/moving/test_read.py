"""What is exported from one set of servers is made on another: the same, checked, or not at all."""

from __future__ import annotations

import json
import os
import signal
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from recsys import ledger, monitoring, moving
from recsys.contract import PUBLIC_MODEL_KEY, PUBLIC_TABLES
from recsys.errors import ArtifactError, LedgerError
from recsys.ledger import COPIED_TABLES, Action
from recsys.moving.index import INDEX_FILE
from recsys.releases import roll_back
from recsys.services import Services
from tests.actors import an_actor


def ignore(done: int, total: int | None) -> None:
    """No progress is shown."""


def take(services: Services, folder: Path) -> None:
    moving.import_recommender(services, folder, actor=an_actor("mover"), progress=ignore)


def ledger_rows(services: Services) -> dict[str, list[Any]]:
    with services.connect() as conn:
        return {
            table: conn.execute(
                sql.SQL("select to_jsonb(t) from {} t order by t").format(
                    sql.Identifier("recsys", table)
                )
            ).fetchall()
            for table in COPIED_TABLES
        }


def public_rows(services: Services) -> dict[str, list[Any]]:
    with services.connect() as conn:
        return {
            table.name: conn.execute(
                f"select {table.id_column}, vector::text from {table.name} order by 1"
            ).fetchall()
            for table in PUBLIC_TABLES
        }


def objects(services: Services) -> dict[str, tuple[bytes, dict[str, str]]]:
    store = services.store
    found = {}
    for key in store.keys(""):
        head = store.head(key)
        assert head is not None
        found[key] = (store.get_bytes(key), head.metadata)
    return found


def change_index(folder: Path, **changes: object) -> None:
    path = folder / INDEX_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_all_rows_tables_objects_and_what_is_served_are_the_same(
    old: Services, new: Services, exported: Path
) -> None:
    take(new, exported)

    assert monitoring.problems(new, thorough=True) == []
    before, moved = ledger_rows(old), ledger_rows(new)
    events = moved.pop("history")
    then = before.pop("history")
    assert events[: len(then)] == then
    assert moved == before
    actions = [row[0]["action"] for row in events[len(then) :]]
    assert actions.count(Action.LEDGER_IMPORTED) == 1
    stored, copied = objects(old), objects(new)
    assert copied.keys() == stored.keys()
    made_anew = {"latest.json", "owner.json"}
    for key in stored.keys() - made_anew:
        assert copied[key] == stored[key], key
    assert public_rows(new) == public_rows(old)
    # The user who is being erased is hidden here, too.
    assert 1 not in {row[0] for row in public_rows(new)["user_towers"]}
    assert monitoring.read_status(new) == monitoring.read_status(old)


def test_the_new_one_can_go_back_and_the_old_one_stays(
    old: Services, new: Services, exported: Path
) -> None:
    take(new, exported)
    served = old.store.get_bytes(PUBLIC_MODEL_KEY)
    with new.connect() as conn:
        target = ledger.rollback_target(conn)
    assert target is not None

    assert roll_back(new, target.release_id, actor=an_actor()).changed

    assert monitoring.problems(new, thorough=True) == []
    assert new.store.get_bytes(PUBLIC_MODEL_KEY) != served
    assert old.store.get_bytes(PUBLIC_MODEL_KEY) == served
    assert monitoring.problems(old) == []


def killed_import(services: Services, folder: Path, calls: int) -> None:
    """Imports, and is killed when progress is reported for the last of these times."""
    seen = []

    def kill(done: int, total: int | None) -> None:
        seen.append(done)
        if len(seen) == calls:
            os.kill(os.getpid(), signal.SIGKILL)

    moving.import_recommender(services, folder, actor=an_actor(), progress=kill)


def test_a_killed_import_goes_on_when_it_is_repeated_and_a_complete_one_changes_nothing(
    old: Services, new: Services, exported: Path
) -> None:
    count = len(moving.read_index(exported).objects)
    for calls in (1, count // 2, count + 1):
        process = get_context("fork").Process(target=killed_import, args=(new, exported, calls))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        with new.connect() as conn:
            assert ledger.release_ids(conn) == frozenset()

    take(new, exported)

    assert monitoring.problems(new, thorough=True) == []
    assert monitoring.read_status(new) == monitoring.read_status(old)
    once = ledger_rows(new), objects(new)
    take(new, exported)
    assert (ledger_rows(new), objects(new)) == once


@pytest.mark.parametrize("harm", ["change", "remove"])
def test_a_file_that_is_not_as_exported_is_refused_before_anything_is_written(
    new: Services, copy: Path, harm: str
) -> None:
    harmed = moving.read_index(copy).tables[-1].path(copy)
    if harm == "change":
        harmed.write_bytes(harmed.read_bytes()[:-1] + b"!")
    else:
        harmed.unlink()

    with pytest.raises(ArtifactError, match=harmed.name):
        take(new, copy)

    assert new.store.keys("") == []
    with new.connect() as conn:
        assert ledger.applied(conn) == []


def test_servers_in_use_are_not_imported_into(old: Services, new: Services, copy: Path) -> None:
    change_index(copy, ledger_id="00000000-0000-0000-0000-000000000000")
    with pytest.raises(LedgerError, match="is in use"):
        take(Services(postgres=new.postgres, s3=old.s3), copy)
    with pytest.raises(LedgerError, match="contains a ledger that is in use"):
        take(old, copy)
    assert monitoring.problems(old) == []


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("objects", "key", "latest_model.keras"),
        ("objects", "key", "owner.json"),
        ("objects", "key", "releases/\x1b[2J"),
        ("tables", "table", 'movie_vectors"; drop table x; --'),
        ("tables", "release_id", "../../etc"),
        ("tables", "sha256", "../../etc/passwd"),
    ],
)
def test_a_hostile_index_is_refused(
    new: Services, copy: Path, part: str, field: str, value: str
) -> None:
    entries = json.loads((copy / INDEX_FILE).read_text())[part]
    entries[0][field] = value
    change_index(copy, **{part: entries})
    with pytest.raises(ArtifactError, match="has another form"):
        take(new, copy)
    assert new.store.keys("") == []


def test_an_export_of_other_code_is_refused(new: Services, copy: Path) -> None:
    change_index(copy, migrations=[1, 2])
    with pytest.raises(LedgerError, match="of other code"):
        take(new, copy)
    change_index(copy, version=2)
    with pytest.raises(ArtifactError, match="newer code"):
        take(new, copy)
    (copy / INDEX_FILE).unlink()
    with pytest.raises(ArtifactError, match="written last"):
        take(new, copy)
