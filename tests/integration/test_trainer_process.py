"""The trainer as a local process: its environment, its exit code, and that it never outlives us."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil
import pytest

from recsys import contract, trainer_process
from recsys.contract import Build, TrainerInput
from recsys.errors import (
    ConfigurationError,
    RecsysError,
    StoppedBySignal,
    TrainingError,
    TransientError,
)
from recsys.trainer_process import LocalTrainer
from tests.forwarded import set_forwarded

GIVEN = TrainerInput(
    build=Build(dataset_md5="0" * 32, trainer_digest=f"sha256:{'a' * 64}", settings={"n": 1}),
    run_nonce="n" * 8,
    s3_bucket="bucket",
    s3_endpoint="http://127.0.0.1:9",
)
SECRETS = {"AWS_ACCESS_KEY_ID": "key-id", "AWS_SECRET_ACCESS_KEY": "hush-hush"}

StandIn = Callable[[str], LocalTrainer]


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    """Returns a function that makes a trainer whose interpreter is a shell script."""

    def make(script: str) -> LocalTrainer:
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o700)
        return LocalTrainer(python=python, root=tmp_path)

    return make


def run(trainer: LocalTrainer, subcommand: str = "train") -> list[str]:
    """Runs the trainer with the secrets; returns the lines that it printed."""
    lines: list[str] = []
    trainer.run(subcommand, GIVEN, SECRETS, lines.append)
    return lines


def wait_for(what: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# --- exit codes ---


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


# --- its environment ---


def test_its_command_is_that_of_the_image(stand_in: StandIn) -> None:
    trainer = stand_in('echo "$0 $*"; pwd')
    assert run(trainer, "verify") == [f"{trainer.python} -m trainer verify", str(trainer.root)]


def test_it_gets_only_the_contracts_and_the_allowed_variables(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    strays = ("AIRFLOW_CONN_X", "AIRFLOW__CORE__FERNET_KEY", "RECSYS_PG_DSN", "AWS_SESSION_TOKEN")
    for name in strays:
        monkeypatch.setenv(name, "stray-hush")
    monkeypatch.setenv("RECSYS_S3_BUCKET", "another")
    monkeypatch.setenv("TZ", "UTC")
    forwarded = set_forwarded(monkeypatch)
    monkeypatch.setenv("LC_ALL", "")
    lines = run(stand_in("tr '\\0' '\\n' < /proc/$$/environ"))
    found = dict(line.split("=", 1) for line in lines)
    expected = {
        **GIVEN.to_environment(),
        **SECRETS,
        **forwarded,
        "TZ": "UTC",
        "PATH": os.environ["PATH"],
        "PYTHONUNBUFFERED": "1",
    }
    assert {name: found.get(name) for name in expected} == expected
    # Python sets LC_CTYPE if the locale is C.
    machine = {"HOME", "USER", "LOGNAME", "TMPDIR", "LANG", "RECSYS_CODE_REVISION", "PYTHONPATH"}
    others = {name for name in found if not trainer_process.is_machine_variable(name)}
    assert others <= {*expected, *machine, "LC_CTYPE", "XDG_CACHE_HOME"}
    assert "LC_ALL" not in found, "an empty variable is an unset one"
    assert TrainerInput.from_environment(found) == GIVEN


OF_THE_MACHINE = (
    *("CUDA_VISIBLE_DEVICES", "CUDA_HOME", "NVIDIA_VISIBLE_DEVICES", "NCCL_DEBUG"),
    *("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "OMP_NUM_THREADS"),
    *("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_FORCE_GPU_ALLOW_GROWTH", "XLA_FLAGS"),
    *("TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTRAOP_THREADS", "POLARS_MAX_THREADS", "TPU_NAME"),
)
OF_THE_BUILD = (
    *("KERAS_BACKEND", "KERAS_HOME", "TF_CONFIG", "TF_USE_LEGACY_KERAS", "PYTHONPATH"),
    *("PYTHONHOME", "PYTHONSTARTUP", "RECSYS_BUILD_SETTINGS", "RECSYS_WORKERS"),
)


def test_it_gets_what_belongs_to_the_machine_and_nothing_that_changes_the_build(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*OF_THE_MACHINE, *OF_THE_BUILD):
        monkeypatch.setenv(name, "/of-the-tests")
    # These would change the processes between.
    monkeypatch.delenv("PYTHONHOME")
    lines = run(stand_in("tr '\\0' '\\n' < /proc/$$/environ"))
    found = dict(line.split("=", 1) for line in lines)
    assert {name for name in OF_THE_MACHINE if found.get(name) != "/of-the-tests"} == set()
    assert {name for name in OF_THE_BUILD if found.get(name) == "/of-the-tests"} == set()


def test_only_the_contracts_secrets_are_passed(stand_in: StandIn) -> None:
    trainer = stand_in('echo "${AWS_SECRET_ACCESS_KEY-none} ${RECSYS_PG_DSN-none}"')
    lines: list[str] = []
    trainer.run("train", GIVEN, {**SECRETS, "RECSYS_PG_DSN": "hush"}, lines.append)
    assert lines == ["hush-hush none"]
    trainer.run("train", GIVEN, {}, lines.append)
    assert lines[1:] == ["none none"]


def test_no_secret_is_on_a_command_line(stand_in: StandIn) -> None:
    trainer = stand_in("echo up; while [ ! -e go ]; do sleep 0.02; done")
    seen: list[str] = []

    def on_line(line: str) -> None:
        for child in psutil.Process().children(recursive=True):
            # A `sleep` of the script may end between the two calls.
            with suppress(psutil.NoSuchProcess):
                seen.extend(child.cmdline())
        (trainer.root / "go").touch()

    trainer.run("train", GIVEN, SECRETS, on_line)
    assert "trainer" in seen
    assert not [argument for argument in seen for secret in SECRETS.values() if secret in argument]


def test_its_stdin_is_empty(stand_in: StandIn) -> None:
    assert run(stand_in("read answer; echo read $?")) == ["read 1"]


# --- it never outlives its parent ---

SLEEPER = "echo $$; exec sleep 300"


def test_it_ends_when_its_parent_is_killed(stand_in: StandIn) -> None:
    trainer = stand_in(SLEEPER)
    program = (
        "import sys; from pathlib import Path; from recsys.contract import TrainerInput;"
        "from recsys.trainer_process import LocalTrainer; import os;"
        "LocalTrainer(Path(sys.argv[1]), Path(sys.argv[2])).run('train',"
        "TrainerInput.from_environment(os.environ), {}, lambda line: print(line, flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, trainer.python, trainer.root],
        env={**os.environ, **GIVEN.to_environment()},
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not has_ended(pid)
        parent.kill()
        parent.wait()
        wait_for(lambda: has_ended(pid))


class Interrupted(BaseException):
    """Raised while the trainer runs, as when Airflow terminates a task."""


@pytest.mark.parametrize("stubborn", [False, True])
def test_it_ends_when_the_task_is_interrupted(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, stubborn: bool
) -> None:
    monkeypatch.setattr(trainer_process, "GRACE_S", 0.1 if stubborn else 60)
    pids: list[int] = []

    def on_line(line: str) -> None:
        pids.append(int(line))
        raise Interrupted

    # An ignored signal stays ignored through exec.
    trainer = stand_in(("trap '' TERM\n" if stubborn else "") + SLEEPER)
    with pytest.raises(Interrupted):
        trainer.run("train", GIVEN, SECRETS, on_line)
    assert has_ended(pids[0])


def test_its_children_end_with_it(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_process, "GRACE_S", 60)
    pids: list[int] = []

    def on_line(line: str) -> None:
        pids.append(int(line))
        if len(pids) == 2:
            raise Interrupted

    trainer = stand_in("sleep 300 & echo $!\necho $$; wait")
    with pytest.raises(Interrupted):
        trainer.run("train", GIVEN, SECRETS, on_line)
    wait_for(lambda: all(has_ended(pid) for pid in pids))


# --- the digest in place of an image's ---


@pytest.fixture
def copied(tmp_path: Path, repository: Path) -> LocalTrainer:
    """A copy of the sources that the trainer's image contains."""
    skip = shutil.ignore_patterns(".venv", "__pycache__")
    shutil.copytree(repository / "trainer", tmp_path / "trainer", ignore=skip)
    shutil.copytree(repository / "src" / "recsys", tmp_path / "src" / "recsys", ignore=skip)
    return LocalTrainer(python=Path(sys.executable), root=tmp_path)


def test_a_copy_in_another_folder_has_the_same_digest(
    copied: LocalTrainer, repository: Path
) -> None:
    digest = copied.digest()
    assert digest == LocalTrainer(python=Path("any"), root=repository).digest()
    build = Build(dataset_md5="0" * 32, trainer_digest=digest, settings={})
    assert contract.check_release_id(build.release_id)


@pytest.mark.parametrize(
    "path",
    [
        *("trainer/rating/model.py", "trainer/__main__.py", "trainer/uv.lock"),
        *(
            "src/recsys/contract/build.py",
            "src/recsys/evaluation/metrics.py",
            "src/recsys/errors.py",
            "src/recsys/object_store/store.py",
        ),
    ],
)
def test_a_changed_file_of_the_image_changes_the_digest(copied: LocalTrainer, path: str) -> None:
    before = copied.digest()
    with (copied.root / path).open("a") as file:
        file.write("\n")
    assert copied.digest() != before


def test_each_source_file_of_the_image_changes_the_digest(copied: LocalTrainer) -> None:
    package = copied.root / "src" / "recsys"
    shared = [package / name for name in trainer_process.SHARED_MODULES]
    folders = [copied.root / "trainer", *(path for path in shared if path.is_dir())]
    files = [
        *(path for folder in folders for path in folder.rglob("*.py")),
        *(path for path in shared if path.is_file()),
    ]
    digests = {copied.digest()}
    for path in files:
        with path.open("a") as file:
            file.write("\n")
        digests.add(copied.digest())
    assert len(files) > 30
    assert len(digests) == len(files) + 1


@pytest.mark.parametrize("change", ["added", "renamed", "removed"])
def test_an_added_renamed_or_removed_file_changes_the_digest(
    copied: LocalTrainer, change: str
) -> None:
    before, trainer = copied.digest(), copied.root / "trainer"
    if change == "added":
        (trainer / "deeper").mkdir()
        (trainer / "deeper" / "new.py").touch()
    elif change == "renamed":
        (trainer / "export.py").rename(trainer / "exports.py")
    else:
        (trainer / "export.py").unlink()
    assert copied.digest() != before


@pytest.mark.parametrize(
    "path",
    [
        *("trainer/.venv/lib/x.py", "trainer/__pycache__/model.cpython-311.pyc"),
        *("trainer/notes.md", "src/recsys/releases/promotion.py", "src/recsys/gate/settings.py"),
        *("src/recsys/database/connection.py", "src/recsys/features/drift.py", "src/recsys/new.py"),
        *("src/recsys/releases/retirement.py", "src/recsys/dataset/settings.py"),
    ],
)
def test_a_file_outside_of_the_image_does_not_change_the_digest(
    copied: LocalTrainer, path: str
) -> None:
    before = copied.digest()
    (copied.root / path).parent.mkdir(parents=True, exist_ok=True)
    (copied.root / path).write_text("changed")
    assert copied.digest() == before


def test_a_raised_threshold_of_the_gate_keeps_the_digest_and_the_release_id(
    copied: LocalTrainer,
) -> None:
    def build() -> Build:
        return Build(dataset_md5="0" * 32, trainer_digest=copied.digest(), settings={})

    before = build()
    settings = copied.root / "src" / "recsys" / "gate" / "settings.py"
    raised = re.sub(
        r"(min_coverage: float = Field\(\s*default=)[\d.]+", r"\g<1>0.02", settings.read_text()
    )
    assert raised != settings.read_text()
    settings.write_text(raised)
    assert build() == before
    assert build().release_id == before.release_id


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


def test_ctrl_c_is_obeyed_while_the_trainer_prints_nothing(stand_in: StandIn) -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        raise StoppedBySignal(number)

    before = signal.signal(signal.SIGINT, stop)
    # As importing polars does after that: the kernel restarts an interrupted read.
    signal.siginterrupt(signal.SIGINT, False)
    lines: list[str] = []
    trainer = stand_in("echo $$; exec sleep 3600")
    interrupt = threading.Thread(
        target=lambda: (wait_for(lambda: bool(lines)), os.kill(os.getpid(), signal.SIGINT))
    )
    try:
        interrupt.start()
        with pytest.raises(StoppedBySignal):
            trainer.run("train", GIVEN, SECRETS, lines.append)
    finally:
        interrupt.join()
        signal.signal(signal.SIGINT, before)
    wait_for(lambda: has_ended(int(lines[0])))
