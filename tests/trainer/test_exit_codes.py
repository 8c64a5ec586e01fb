"""How a trainer that cannot make a release ends: its exit code says whose turn it is."""

import contextlib
import socket
import threading
from typing import Any

import polars as pl
import pytest

from recsys import contract
from recsys.contract import ExitCode, TrainerInput
from tests.trainer.conftest import Bench
from trainer import release
from trainer.__main__ import main
from trainer.exit_codes import exit_code

Tables = tuple[pl.DataFrame, pl.DataFrame]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"rating": {"epohcs": 3}}, "rating.epohcs"),
        ({"rating": {"learning_rate": -1}}, "rating.learning_rate"),
    ],
)
def test_invalid_settings_are_bad_config(
    bench: Bench, overrides: dict[str, object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer_input = bench.input(overrides, md5="e" * 32)
    assert main([], bench.environment(trainer_input)) == ExitCode.BAD_CONFIG
    assert message in capsys.readouterr().out
    assert message in bench.log(trainer_input)


def test_an_invalid_environment_is_bad_config(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    good = bench.environment(bench.input())
    for changed, message in (
        ({contract.ENV_BUILD: None}, f"{contract.ENV_BUILD} is not set"),
        ({contract.ENV_BUILD: "{"}, "the trainer's input is invalid"),
        ({contract.ENV_RUN_NONCE: "short"}, "run_nonce"),
        ({contract.ENV_RELEASE_ID: "aaaaaaaa-00000000"}, contract.ENV_RELEASE_ID),
        ({contract.ENV_CONTRACT: None}, "the pipeline fulfills contract 1"),
        ({contract.ENV_CONTRACT: "2"}, "the pipeline fulfills contract 2"),
        ({contract.ENV_S3_ENDPOINT: "no endpoint"}, "the S3 settings are invalid"),
        ({contract.ENV_S3_BUCKET: "no-such-bucket"}, "the bucket does not exist"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "refused the credentials"),
    ):
        environment = {k: v for k, v in (good | changed).items() if v is not None}
        assert main([], environment) == ExitCode.BAD_CONFIG, changed
        assert message in capsys.readouterr().out


def test_an_unknown_command_is_bad_config_and_help_lists_exit_codes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as error:
        main(["tarin"], {})
    assert error.value.code == ExitCode.BAD_CONFIG
    with pytest.raises(SystemExit) as error:
        main(["--help"], {})
    assert error.value.code == 0
    text = capsys.readouterr().out
    assert all(f"{code.value}  " in text for code in ExitCode)
    assert contract.ENV_BUILD in text


def test_missing_invalid_and_empty_features_are_bad_data(
    bench: Bench, small: Tables, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer_input = bench.input(md5="f" * 32)
    assert main([], bench.environment(trainer_input)) == ExitCode.BAD_DATA
    assert "the features lack interactions.parquet" in capsys.readouterr().out
    bench.put_features(small[0].head(0), small[1], md5="f" * 32)
    assert main([], bench.environment(trainer_input)) == ExitCode.BAD_DATA
    assert "no interaction is marked 'train'" in capsys.readouterr().out
    key = trainer_input.build.features_key(contract.INTERACTIONS_FILE)
    bench.store.put_bytes(key, b"no parquet")
    assert main([], bench.environment(trainer_input)) == ExitCode.BAD_DATA
    assert "not a valid parquet file" in capsys.readouterr().out
    assert bench.candidate(trainer_input) is None


def test_a_diverging_training_is_bad_data(
    bench: Bench, trained: TrainerInput, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer_input = bench.input({"rating": {"factor_penalty": 1e38}})
    assert main([], bench.environment(trainer_input)) == ExitCode.BAD_DATA
    assert "training diverged in epoch" in capsys.readouterr().out
    assert bench.candidate(trainer_input) is None


@pytest.mark.parametrize(
    ("where", "error", "code", "message"),
    [
        ("fit_served", MemoryError("no 9 GiB"), ExitCode.UNAVAILABLE, "memory ran out"),
        ("upload", OSError(28, "No space left"), ExitCode.UNAVAILABLE, "disk space ran out"),
        ("fit_and_evaluate", RuntimeError("a defect"), ExitCode.INTERNAL, "Traceback"),
    ],
)
def test_a_failed_training_leaves_no_manifest(
    bench: Bench,
    trained: TrainerInput,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    where: str,
    error: Exception,
    code: ExitCode,
    message: str,
    evaluated_is_served: None,
) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(f"trainer.release.{where}", fail)
    rating, ranking = {"members": 1, "epochs": 1}, {"epochs": 1, "stride": 20}
    trainer_input = bench.input({"rating": rating, "ranking": ranking})
    assert main([], bench.environment(trainer_input)) == code
    assert message in capsys.readouterr().out
    assert message in bench.log(trainer_input)
    assert bench.candidate(trainer_input) is None


def test_an_unreachable_s3_is_unavailable(bench: Bench) -> None:
    trainer_input = bench.input(s3_endpoint="http://127.0.0.1:9")
    environment = bench.environment(trainer_input) | {"AWS_MAX_ATTEMPTS": "1"}
    assert main([], environment) == ExitCode.UNAVAILABLE


class _Gate:
    """A TCP proxy to the S3 server; shutting it drops all connections and refuses new ones."""

    def __init__(self, endpoint: str) -> None:
        host, port = endpoint.removeprefix("http://").split(":")
        self._server = (host, int(port))
        self._open: list[socket.socket] = []
        self._door = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        threading.Thread(target=self._let_in, daemon=True).start()

    def shut(self) -> None:
        for end in [self._door, *self._open]:
            # Closing alone would not interrupt threads blocked in accept or recv.
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _let_in(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                inside, _ = self._door.accept()
                outside = socket.create_connection(self._server)
                self._open += [inside, outside]
                for source, target in ((inside, outside), (outside, inside)):
                    threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_an_outage_of_s3_during_the_upload_is_unavailable_and_the_next_attempt_succeeds(
    bench: Bench,
    small: Tables,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench.put_features(*small, md5="7" * 32)
    gate = _Gate(bench.endpoint)
    trainer_input = bench.input(md5="7" * 32)
    write = release.write_artifacts

    def write_and_lose(*arguments: Any) -> None:
        write(*arguments)
        gate.shut()

    monkeypatch.setattr(release, "write_artifacts", write_and_lose)
    monkeypatch.setenv("RECSYS_S3_MAX_ATTEMPTS", "3")
    through_gate = trainer_input.model_copy(update={"s3_endpoint": gate.endpoint})
    assert main([], bench.environment(through_gate)) == ExitCode.UNAVAILABLE
    assert "S3 does not answer" in capsys.readouterr().out
    assert bench.candidate(trainer_input) is None
    monkeypatch.undo()
    assert main([], bench.environment(trainer_input)) == ExitCode.OK
    # Both fits were resumed from checkpoints, not repeated.
    assert "resumes after epoch 12" in capsys.readouterr().out
    assert bench.candidate(trainer_input) is not None


def test_settings_in_the_environment_are_refused_because_they_are_not_in_the_build(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    # Of a build of its own: its log would be in the inbox of the release that other tests look at.
    refused = bench.input(md5="8" * 32, run_nonce="a-refused-run")
    environment = bench.environment(refused) | {"RECSYS_TRAINER__RATING__EPOCHS": "3"}
    assert main([], environment) == ExitCode.BAD_CONFIG
    assert "RECSYS_TRAINER__RATING__EPOCHS" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error",
    [
        OSError("[Errno 28] Can't write data (file write failed: No space left on device)"),
        pl.exceptions.ComputeError("No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_detected_in_the_errors_of_all_libraries(error: Exception) -> None:
    assert exit_code(error) == ExitCode.UNAVAILABLE
