"""The end of a demo is one screen, wherever the project lies."""

from __future__ import annotations

import pytest

from recsys.cli import output, run_summary


@pytest.mark.parametrize("length", [6, 30, 40, 75, 200])
def test_each_next_step_is_one_line_that_can_be_copied(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], length: int
) -> None:
    name = "/" + "x" * (length - 1)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(output, "command", lambda: name)
    run_summary.print_next_steps("Toy Story")
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0] == "next steps:"
    assert len(lines) == 4
    assert lines[1].split()[:2] == [name, "why"]
    assert lines[2].startswith(f"  {name} similar 'Toy Story'")
    for line in lines[1:]:
        assert len(line) <= 80 or "  " not in line.strip()


def test_the_next_steps_say_what_they_show_where_there_is_room(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(output, "command", lambda: "recsys")
    run_summary.print_next_steps("Toy Story")
    assert "why it is live" in capsys.readouterr().out
