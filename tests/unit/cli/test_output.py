"""The terminal is looked at when something is first said, not when the module is imported."""

from __future__ import annotations

import io

import pytest

from recsys.cli.output import LateConsole


def test_a_console_has_the_width_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    console = LateConsole(file=io.StringIO())
    for columns in (57, 200, 80):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert console.width == columns


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_terminals_that_want_them(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], coloured: bool
) -> None:
    said = io.StringIO()
    console = LateConsole(file=said, force_terminal=True)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", **variables}.items():
        monkeypatch.setenv(name, value)
    console.print("[red]late[/]")
    assert ("\x1b[31m" in said.getvalue()) is coloured


def test_no_colour_reaches_a_file() -> None:
    said = io.StringIO()
    LateConsole(file=said).print("[red]late[/]")
    assert said.getvalue() == "late\n"


def test_what_no_console_has_is_missed_as_usual() -> None:
    console = LateConsole(file=io.StringIO())
    assert not hasattr(console, "no_such_thing")
    assert console.file is not None
