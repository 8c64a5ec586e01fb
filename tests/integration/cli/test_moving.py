"""`recsys export` and `recsys import`, from one set of servers to another."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import CommandLine, World, new_world


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A new folder, whose path fits on a line."""
    return str(tmp_path_factory.mktemp("m") / "out")


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_recommender_moves_and_both_commands_say_what_moved(
    recsys: CommandLine, served: World, folder: str, form: tuple[str, ...]
) -> None:
    exported = served.recsys("export", folder, *form)
    assert (exported.code, exported.err) == (0, "")
    again = served.recsys("export", folder)
    assert (again.code, "found: an export" in again.words) == (1, True)
    with new_world(recsys) as new:
        imported = new.recsys("import", folder, "--reason", "a new server", *form)
        assert (imported.code, imported.err) == (0, ""), imported.out
        assert new.states() == served.states()
        assert "a new server" in new.recsys("why").words
    if form:
        assert imported.json == exported.json | {"problems": []}
        assert exported.json["releases"] == 4
    else:
        assert "releases 4, " in exported.words
        assert "every retained release was read" in imported.words


def test_a_folder_that_is_no_export_is_refused(world: World, tmp_path: Path) -> None:
    done = world.recsys("import", str(tmp_path))
    assert done.code == 1
    assert "no readable export.json" in done.words
