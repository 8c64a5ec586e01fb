"""The environment of the trainer: what it gets, and what it never gets."""

from __future__ import annotations

import os
from contextlib import suppress

import psutil
import pytest

from recsys import trainer_process
from recsys.contract import TrainerInput
from tests.forwarded import set_forwarded
from tests.integration.trainer_process.stand_ins import GIVEN, SECRETS, StandIn, run


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
