"""docs/commands/ has a page for each command, with the text of its help."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from docs import make_commands
from recsys.cli.commands import ENTRIES, LoadedCommands


def test_the_pages_are_those_of_the_code() -> None:
    written = {
        path.name: path.read_text(encoding="utf-8") for path in make_commands.FOLDER.iterdir()
    }
    assert written == make_commands.pages(), "run: make docs"


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_a_page_names_every_option_and_argument_of_its_command(name: str) -> None:
    page = (make_commands.FOLDER / f"{name}.md").read_text(encoding="utf-8")
    for parameter in LoadedCommands()[name].params:
        if parameter.param_type_name == "argument":
            assert parameter.name.upper().removesuffix("S") in page
        else:
            for option in (*parameter.opts, *parameter.secondary_opts):
                assert option in page


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_values_are_named_as_on_command_lines_and_not_by_types_of_python(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(LoadedCommands()[name], ["--help"])
    assert shown.exit_code == 0
    assert not re.search(r"<(str|int|bool|float|dir|path|list\[)|\[\[", shown.output)


def test_a_page_of_a_command_that_is_gone_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("# recsys gone\n")
    make_commands.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(make_commands.pages())
