"""Runs the trainer as a local process, with the same interface as its image."""

from __future__ import annotations

import hashlib
import logging
import re
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recsys import contract
from recsys.contract import STARS, ExitCode, RatingScale, TrainerInput
from recsys.errors import ConfigurationError, TrainingError, TransientError
from recsys.trainer_process.child import run_child
from recsys.trainer_process.variables import credentials, inherited_variables

log = logging.getLogger(__name__)

SHARED_MODULES: Final = ("__init__.py", "contract", "errors.py", "evaluation", "object_store")
"""The modules and packages of ``src/recsys`` that the trainer's image contains.

docker/trainer/Dockerfile and the trainer's workflow repeat the list; a test compares them.
"""
_LOG_LINE: Final = re.compile(
    r"(?:\d{4}-\d\d-\d\dT[\d:.]+Z )?(DEBUG|INFO|WARNING|ERROR|CRITICAL) (.*)", re.DOTALL
)
"""A line of the trainer's log; trainers of earlier code print the time first."""


def log_line(line: str) -> None:
    """Logs a line that the trainer printed at its own level; the time is the logger's."""
    found = _LOG_LINE.fullmatch(line)
    if found is None:
        log.info("%s", line)
    else:
        log.log(logging.getLevelNamesMapping()[found[1]], "%s", found[2])


@dataclass(frozen=True)
class LocalTrainer:
    """The trainer's virtual environment and sources on this machine.

    Attributes:
        python: the interpreter of the trainer's locked environment.
        root: the folder that contains ``trainer/`` and ``src/recsys/``.
    """

    python: Path
    root: Path

    def check_installed(self) -> None:
        """Raises ConfigurationError if the trainer's environment is missing."""
        if not self.python.exists():
            raise ConfigurationError(
                "the trainer's environment is missing",
                found=f"no {self.python}",
                expected="a clone of the project's repository; the package has no trainer",
                hint="run `make setup` in the clone, or set RECSYS_ROOT and RECSYS_TRAINER_PYTHON",
            )

    def digest(self) -> str:
        """Returns a hash of all files that the image would contain, in place of its digest."""
        trainer = self.root / "trainer"
        files = [
            *trainer.glob("*.py"),
            # Not .venv, which has tens of thousands of files.
            *(
                path
                for folder in trainer.iterdir()
                if folder.is_dir() and folder.name != ".venv"
                for path in folder.rglob("*.py")
            ),
            trainer / "uv.lock",
            *_shared_files(self.root / "src" / "recsys"),
        ]
        digest = hashlib.sha256()
        for path in sorted(files):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(self.root).as_posix()}\0{content}\n".encode())
        return f"sha256:{digest.hexdigest()}"

    def run(
        self,
        subcommand: str,
        trainer_input: TrainerInput,
        secrets: Mapping[str, str],
        on_line: Callable[[str], None] = log_line,
    ) -> None:
        """Runs ``python -m trainer <subcommand>`` and forwards its output line by line.

        Args:
            subcommand: ``train`` or ``verify``.
            trainer_input: the trainer's input, passed as environment variables.
            secrets: values of `contract.SECRET_ENV`, passed in the environment only. Without keys
                or profile, the trainer has the identity of this process.
            on_line: called with each line that the trainer prints.

        Raises:
            ConfigurationError: the interpreter does not exist.
            TrainingError: it exited with a permanent error's code.
            TransientError: it exited with a transient error's code, or was killed by a signal.
        """
        variables = credentials(secrets) | trainer_input.to_environment()
        self.run_command([subcommand], variables, on_line)

    def invalid_settings(self, assignments: Sequence[str]) -> str:
        """Asks the trainer what is wrong with settings like ``rating.epochs=12``.

        Returns:
            A line for each setting that is invalid. Empty if all are valid, or if this trainer
            cannot be asked: then it refuses them when it trains.
        """
        if not self.python.exists():
            return ""
        lines: list[str] = []
        code, _ = run_child(
            [str(self.python), "-m", "trainer.check_settings", *assignments],
            self.root,
            inherited_variables() | {"PYTHONPATH": str(self.root)},
            lines.append,
        )
        return "\n".join(lines) if code == ExitCode.BAD_CONFIG else ""

    def run_command(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] = log_line,
    ) -> None:
        """Runs ``python -m trainer <arguments>`` with these environment variables, see `run`."""
        self.run_program("trainer", arguments, environment or {}, on_line)

    def verify(
        self,
        trainer_input: TrainerInput,
        secrets: Mapping[str, str],
        on_line: Callable[[str], None] = log.info,
        subcommand: str = "verify",
    ) -> None:
        """Runs ``python -m verifier <subcommand>`` with the trainer's interpreter; see `run`.

        It imports no code of the trainer: `verifier/` is the pipeline's.
        """
        variables = credentials(secrets) | trainer_input.to_environment()
        # -P: the working directory is not where modules are looked up.
        self.run_program("verifier", [subcommand], variables, on_line, options=("-P",))

    def predict(
        self,
        model: Path,
        pairs: Path,
        predictions: Path,
        on_line: Callable[[str], None] = log.info,
        *,
        light: bool = False,
        scale: RatingScale = STARS,
    ) -> None:
        """Predicts stars for pairs in files, in a process that reaches no server.

        Args:
            model: a release's model.
            pairs: parquet with userId, movieId.
            predictions: the parquet to write: the pairs, and prediction.
            on_line: called with each line that the process prints.
            light: on Keras' backend that starts fastest, for a model that any backend loads.
            scale: of the ratings of the model's dataset.

        Raises:
            TrainingError: the model does not load, or does not predict stars.
        """
        files = [str(path) for path in (model, pairs, predictions)]
        flags = ["--light"] * light + [f"--scale={scale}"]
        self.run_program("verifier", ["forward", *flags, *files], {}, on_line, options=("-P",))

    def run_program(
        self,
        program: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
        options: Sequence[str] = (),
    ) -> None:
        """Runs ``python -m <program> <arguments>`` with these environment variables.

        Of this process's own environment, the trainer inherits only what `is_inherited` names.

        Args:
            program: ``trainer`` or ``verifier``.
            arguments: of the program.
            environment: variables beside the inherited ones.
            on_line: called with each line that it prints.
            options: of the interpreter.

        Raises:
            ConfigurationError: the interpreter does not exist.
            TrainingError: it exited with a permanent error's code.
            TransientError: it exited with a transient error's code, or was killed by a signal.
        """
        self.check_installed()
        variables = inherited_variables() | dict(environment) | self.variables()
        command = [str(self.python), *options, "-m", program, *arguments]
        code, tail = run_child(command, self.root, variables, on_line)
        if code != ExitCode.OK:
            raise failure(arguments[0], code, tail)

    def variables(self) -> dict[str, str]:
        """Returns the environment variables with which the interpreter finds the programs."""
        return {"PYTHONPATH": str(self.root), "PYTHONUNBUFFERED": "1"}


def _shared_files(package: Path) -> Iterator[Path]:
    for name in SHARED_MODULES:
        path = package / name
        yield from path.rglob("*.py") if path.is_dir() else (path,)


def failure(subcommand: str, code: int, tail: Iterable[str]) -> TrainingError | TransientError:
    """Returns the exception for an exit code of the trainer, in whatever runtime it ran.

    Args:
        subcommand: the trainer's command: ``train`` or ``verify``.
        code: the exit code; negative: the number of the signal that ended the process.
        tail: the last lines of the output.
    """
    if code < 0:
        found = f"killed by signal {-code} ({signal.strsignal(-code)})"
    else:
        name = {member.value: member.name for member in ExitCode}.get(code, "not in the contract")
        found = f"exit code {code} ({name})"
    hint = "its last lines: " + " | ".join(tail)
    if contract.exit_is_transient(code):
        return TransientError(
            f"the trainer's `{subcommand}` did not finish", found=found, hint=hint
        )
    return TrainingError(f"the trainer's `{subcommand}` failed", found=found, hint=hint)
