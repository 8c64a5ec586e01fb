"""The exit codes of the trainer, the lines that it prints, and its command."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.errors import ConfigurationError, RecsysError, TrainingError, TransientError
from recsys.trainer_process import LocalTrainer
from tests.integration.trainer_process.stand_ins import GIVEN, SECRETS, StandIn, run


@pytest.mark.parametrize(
    ("end", "kind", "found"),
    [
        ("exit 65", TrainingError, "exit code 65 (BAD_DATA)"),
        ("exit 70", TrainingError, "exit code 70 (INTERNAL)"),
        ("exit 75", TransientError, "exit code 75 (UNAVAILABLE)"),
        ("exit 78", TrainingError, "exit code 78 (BAD_CONFIG)"),
        ("exit 143", TransientError, "exit code 143 (TERMINATED)"),
        ("exit 1", TrainingError, "exit code 1 (not in the contract)"),
        ("exit 137", TransientError, "exit code 137 (not in the contract)"),
        ("kill -KILL $$", TransientError, "killed by signal 9 (Killed)"),
        ("kill -SEGV $$", TransientError, "killed by signal 11 (Segmentation fault)"),
        # A signal without a name.
        ("kill -40 $$", TransientError, "killed by signal 40"),
    ],
)
@pytest.mark.parametrize("subcommand", ["train", "verify"])
def test_the_exit_code_determines_whether_the_error_is_transient(
    stand_in: StandIn, end: str, kind: type[RecsysError], found: str, subcommand: str
) -> None:
    with pytest.raises(kind) as failure:
        run(stand_in(f"echo some words; {end}"), subcommand)
    assert str(failure.value.found).startswith(found)
    assert f"`{subcommand}`" in failure.value.message
    assert failure.value.hint == "its last lines: some words"


def test_an_error_quotes_only_the_last_lines(stand_in: StandIn) -> None:
    with pytest.raises(TrainingError) as failure:
        run(stand_in("i=0; while [ $i -lt 500 ]; do i=$((i + 1)); echo line $i; done; exit 70"))
    assert "line 500" in failure.value.hint
    assert "line 400 " not in failure.value.hint


def test_stdout_and_stderr_are_forwarded_line_by_line(stand_in: StandIn) -> None:
    # The script continues only after its first line was received: lines are not buffered.
    trainer = stand_in(
        "echo first; while [ ! -e go ]; do sleep 0.02; done; echo second >&2; printf '\\377third'"
    )
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        (trainer.root / "go").touch()

    trainer.run("train", GIVEN, SECRETS, on_line)
    assert lines == ["first", "second", "\N{REPLACEMENT CHARACTER}third"]


def test_a_missing_interpreter_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="make setup") as failure:
        run(LocalTrainer(python=tmp_path / "none", root=tmp_path))
    assert failure.value.found == f"no {tmp_path / 'none'}"


def test_its_command_is_that_of_the_image(stand_in: StandIn) -> None:
    trainer = stand_in('echo "$0 $*"; pwd')
    assert run(trainer, "verify") == [f"{trainer.python} -m trainer verify", str(trainer.root)]


def test_lines_are_logged_at_their_level_with_one_timestamp(
    stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    printed = (
        "2026-01-01T00:00:00Z INFO of an earlier trainer",
        "INFO 100% of %s",
        "WARNING slow",
        "Traceback: INFO none",
    )
    trainer = stand_in("\n".join(f"echo '{line}'" for line in printed))
    with caplog.at_level("INFO", logger="recsys"):
        trainer.run("train", GIVEN, SECRETS)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "of an earlier trainer"),
        ("INFO", "100% of %s"),
        ("WARNING", "slow"),
        ("INFO", "Traceback: INFO none"),
    ]
