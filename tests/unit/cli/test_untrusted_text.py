"""What trainers print and datasets contain is data: no markup, links or escapes of a terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pyte
import pytest

from recsys.cli import data, evaluation, output, queries, release_views
from recsys.cli.output import LateConsole
from recsys.cli.progress import Epoch, Progress
from recsys.errors import TrainingError, printable
from recsys.recommend import Reason, ScoredMovie
from recsys.trainer_process import run_child

HOSTILE = [
    "closes [/x] nothing",
    "[bold red]shouts[/]",
    "[link=https://evil.example]here[/link]",
    "ends with a backslash \\",
    "\x1b]8;;https://evil.example\x1b\\here\x1b]8;;\x1b\\",
    "\x1b[2Jcleared",
    "\x9b2Jcleared",
    "back\b\b\b\bspace",
    "carriage\rreturn",
    "abc\u202edcba",
    ":heart: [not an emoji]",
]
FORBIDDEN = ("\x1b", "\x9b", "\b", "\r", "\u202e", "\x07", "❤")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """What the consoles of the commands print, as to a pipe of 100 columns."""
    file = io.StringIO()
    console = LateConsole(file=file, highlight=False, emoji=False, width=100)
    for module in (data, evaluation, output, queries, release_views):
        if hasattr(module, "console"):
            monkeypatch.setattr(module, "console", console)
    monkeypatch.setattr(output, "errors", console)
    return file.getvalue


def check(text: str, original: str) -> None:
    assert not [one for one in FORBIDDEN if one in text], text
    kept = [word for word in original.split() if word.isascii() and word.isprintable()]
    assert all(word in text.split() or word in text for word in kept), text


@pytest.mark.parametrize("text", HOSTILE)
def test_titles_and_genres_are_shown_as_they_are(text: str, shown: Callable[[], str]) -> None:
    queries.print_movies([ScoredMovie(1, text, (text,), 0.5)], "cosine")
    check(shown(), text)


@pytest.mark.parametrize("text", HOSTILE)
def test_titles_of_reasons_are_shown_as_they_are(text: str, shown: Callable[[], str]) -> None:
    reason = Reason(2, text, 0.6)
    movies = [ScoredMovie(1, "A", (), 0.5, reason), ScoredMovie(3, "B", (), 0.4)]
    queries.print_movies(movies, None)
    assert "because of" in shown()
    check(shown(), text)


@pytest.mark.parametrize("text", HOSTILE)
def test_reasons_and_rules_of_the_gate_are_shown_as_they_are(
    text: str, shown: Callable[[], str]
) -> None:
    rule = {"name": text, "value": 1.0, "threshold": 2.0, "passed": False, "reason": text}
    release_views.print_decision({"accepted": False, "reason": text, "rules": [rule]})
    check(shown(), text)


@pytest.mark.parametrize("text", HOSTILE)
def test_errors_are_shown_as_they_are(text: str, shown: Callable[[], str]) -> None:
    output.print_error(TrainingError(text, found=text, expected=text, hint=text))
    check(shown(), text)


@pytest.mark.parametrize("text", HOSTILE)
def test_rows_in_quarantine_are_shown_as_they_are(text: str, shown: Callable[[], str]) -> None:
    report = {
        "files": {
            text: {"rows": 1, "quarantined": 1, "quarantine": {text: {"rows": 1, "share": 1}}}
        },
        "drift": {"measures": {text: 0.5}, "breaches": []},
    }
    data.print_data(report)
    check(shown(), text)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_line_of_the_trainer_does_not_end_or_disturb_the_table_of_tasks(text: str) -> None:
    file = io.StringIO()
    console = LateConsole(file=file, force_terminal=True, width=80, height=24, emoji=False)
    progress = Progress()
    progress({"event": "task", "task_id": "train_dl_model", "state": "running", "run_id": "r"})
    progress({"event": "log", "text": text})
    console.print(progress.live.get_renderable())
    screen = pyte.Screen(80, 24)
    pyte.Stream(screen).feed(file.getvalue().replace("\n", "\r\n"))
    [line] = [line for line in screen.display if "train_dl_model" in line]
    assert line.startswith("●  train_dl_model")
    check(line, "")
    assert "evil.example" not in file.getvalue().partition("https://")[0]
    assert "\x1b]8" not in file.getvalue()


@pytest.mark.parametrize("text", HOSTILE)
def test_what_the_trainer_prints_reaches_no_log_as_it_is(text: str, tmp_path: Path) -> None:
    lines: list[str] = []
    code = f"import sys; sys.stdout.buffer.write({text.encode()!r} + b'\\n'); sys.exit(1)"
    _, tail = run_child([sys.executable, "-c", code], tmp_path, {}, lines.append)
    # A carriage return ends a line here.
    check(" ".join(lines), text)
    assert list(tail) == lines


def test_letters_of_all_languages_stay() -> None:
    text = "Amélie 機動戦士ガンダム Ünïted हिन्दी\u200d nbsp\u00a0x 🎬"
    assert printable(text) == text


def test_a_console_removes_controls_that_a_command_forgot() -> None:
    file = io.StringIO()
    LateConsole(file=file).print("a\x1b[2Jb", markup=False)
    assert file.getvalue() == "a\N{REPLACEMENT CHARACTER}[2Jb\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "12:00:01 INFO rating model epoch 3 of 12: loss 0.7000 validation rmse 0.8712 (2.0 s)",
            "rating: epoch 3 of 12, rmse 0.8712, ≤18 s",
        ),
        ("ranking model epoch 4 of 4: loss 6.1000 (9.0 s)", "ranking: epoch 4 of 4, loss 6.1000"),
        ("rating model epoch 3: loss 0.7000 (2.0 s)", "rating: epoch 3, loss 0.7000"),
        ("uploading the artifacts", None),
    ],
)
def test_an_epoch_says_how_many_there_are_and_what_is_left(line: str, said: str | None) -> None:
    epoch = Epoch.parse(line)
    assert (str(epoch) if epoch else None) == said
