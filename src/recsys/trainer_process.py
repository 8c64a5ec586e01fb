"""Runs the trainer as a local process, with the same interface as its image."""

from __future__ import annotations

import codecs
import hashlib
import io
import logging
import os
import re
import select
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from recsys import contract
from recsys.contract import ExitCode, TrainerInput
from recsys.errors import (
    ConfigurationError,
    StoppedBySignal,
    TrainingError,
    TransientError,
    printable,
)

log = logging.getLogger(__name__)

SHARED_MODULES: Final = ("__init__.py", "contract", "errors.py", "evaluation", "object_store")
"""The modules and packages of ``src/recsys`` that the trainer's image contains.

docker/trainer/Dockerfile and the trainer's workflow repeat the list; a test compares them.
"""
FORWARDED_VARIABLES: Final = frozenset(
    "HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy "
    "SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE AWS_CA_BUNDLE "
    "AWS_REQUEST_CHECKSUM_CALCULATION AWS_RESPONSE_CHECKSUM_VALIDATION AWS_USE_FIPS_ENDPOINT "
    "AWS_USE_DUALSTACK_ENDPOINT AWS_STS_REGIONAL_ENDPOINTS RECSYS_S3_MAX_ATTEMPTS "
    "RECSYS_S3_READ_TIMEOUT RECSYS_SITE_KERAS".split()
)
"""Variables of a task's environment that every launcher passes on to the trainer and to Spark.

They define how S3 is reached, and which Keras the site has; none names a secret or a folder.
"""
_INHERITED_VARIABLES: Final = FORWARDED_VARIABLES.union(
    "PATH HOME USER LOGNAME TMPDIR LANG LC_ALL LC_CTYPE TZ XDG_CACHE_HOME "
    "RECSYS_CODE_REVISION".split()
)
IDENTITY_VARIABLES: Final = frozenset(
    "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE AWS_DEFAULT_PROFILE "
    "AWS_ROLE_ARN AWS_WEB_IDENTITY_TOKEN_FILE AWS_ROLE_SESSION_NAME AWS_STS_REGIONAL_ENDPOINTS "
    "AWS_ENDPOINT_URL_STS AWS_CONTAINER_CREDENTIALS_RELATIVE_URI "
    "AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_CONTAINER_AUTHORIZATION_TOKEN "
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE AWS_EC2_METADATA_DISABLED "
    "AWS_EC2_METADATA_SERVICE_ENDPOINT".split()
)
"""Where boto3 finds credentials if a process was given none: keys, IRSA, EKS pod identity, EC2."""
FILES_VARIABLES: Final = frozenset({"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"})
"""The files with the profiles of AWS, if they are not in the home folder."""
_MACHINE_VARIABLES: Final = frozenset(
    "LD_LIBRARY_PATH LD_PRELOAD GLIBC_TUNABLES POLARS_MAX_THREADS RAYON_NUM_THREADS "
    "NUMEXPR_MAX_THREADS".split()
)
_MACHINE_PREFIXES: Final = tuple(
    "CUDA_ CUDNN_ NVIDIA_ NCCL_ ROCR_ ROCM_ HIP_ HSA_ TPU_ XLA_ TF_ OMP_ GOMP_ KMP_ MKL_ OPENBLAS_ "
    "MALLOC_ TCMALLOC_".split()
)
_BUILD_VARIABLES: Final = frozenset({"TF_CONFIG", "TF_USE_LEGACY_KERAS"})
"""They have a prefix of the machine's, but change what is trained, or with which Keras."""
_TAIL_LINES: Final = 20
_READ_BYTES: Final = 1 << 16
_LOG_LINE: Final = re.compile(
    r"(?:\d{4}-\d\d-\d\dT[\d:.]+Z )?(DEBUG|INFO|WARNING|ERROR|CRITICAL) (.*)", re.DOTALL
)
"""A line of the trainer's log; trainers of earlier code print the time first."""
GRACE_S: Final = 20
# A person who pressed Ctrl-C waits.
_STOP_S: Final = 2
# The trainer must not outlive the task that started it, even if the task is killed by SIGKILL.
_DIE_WITH_PARENT: Final = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(143)
os.execv(sys.argv[2], sys.argv[2:])
"""


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
        variables = _credentials(secrets) | trainer_input.to_environment()
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
        variables = _credentials(secrets) | trainer_input.to_environment()
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
    ) -> None:
        """Predicts stars for pairs in files, in a process that reaches no server.

        Args:
            model: a release's model.
            pairs: parquet with userId, movieId.
            predictions: the parquet to write: the pairs, and prediction (stars).
            on_line: called with each line that the process prints.
            light: on Keras' backend that starts fastest, for a model that any backend loads.

        Raises:
            TrainingError: the model does not load, or does not predict stars.
        """
        files = [str(path) for path in (model, pairs, predictions)]
        backend = ["--light"] * light
        self.run_program("verifier", ["forward", *backend, *files], {}, on_line, options=("-P",))

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


def _credentials(secrets: Mapping[str, str]) -> dict[str, str]:
    credentials = {k: v for k, v in secrets.items() if k in contract.SECRET_ENV}
    return inherited_identity(credentials) | credentials


def inherited_identity(credentials: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables of this process that a child needs besides its own credentials."""
    if "AWS_ACCESS_KEY_ID" in credentials:
        return {}
    named = (
        FILES_VARIABLES if "AWS_PROFILE" in credentials else FILES_VARIABLES | IDENTITY_VARIABLES
    )
    return {name: value for name, value in os.environ.items() if name in named}


def forwarded_variables(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the `FORWARDED_VARIABLES` that are set; Compose passes unset ones as empty strings.

    Args:
        environ: the environment of the task; that of this process if not given.
    """
    variables = os.environ if environ is None else environ
    return {name: variables[name] for name in FORWARDED_VARIABLES if variables.get(name)}


def is_machine_variable(name: str) -> bool:
    """Whether a variable belongs to the machine: its accelerators, libraries and threads."""
    if name in _BUILD_VARIABLES:
        return False
    return name in _MACHINE_VARIABLES or name.startswith(_MACHINE_PREFIXES)


def is_inherited(name: str, value: str) -> bool:
    """Whether the trainer gets a variable of the process that starts it.

    An empty variable is an unset one, except that an empty CUDA_VISIBLE_DEVICES hides all devices.

    Variables that would change the build, such as ``KERAS_BACKEND`` or ``PYTHONPATH``, are not
    inherited: the build's settings are its only inputs.
    """
    return (bool(value) and name in _INHERITED_VARIABLES) or is_machine_variable(name)


def inherited_variables() -> dict[str, str]:
    """Returns the variables of this process that the trainer gets; see `is_inherited`."""
    return {name: value for name, value in os.environ.items() if is_inherited(name, value)}


def _shared_files(package: Path) -> Iterator[Path]:
    for name in SHARED_MODULES:
        path = package / name
        yield from path.rglob("*.py") if path.is_dir() else (path,)


def bound_to_parent(command: Sequence[str]) -> list[str]:
    """Returns a command that runs this one, and gets SIGTERM when this process has died."""
    return [sys.executable, "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]


def run_child(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    on_line: Callable[[str], None],
) -> tuple[int, deque[str]]:
    """Runs a command and waits for it; it and its children do not outlive this process.

    Args:
        command: program and arguments; must not contain user input.
        folder: working directory.
        environment: the complete environment.
        on_line: called with each line that the command prints.

    Returns:
        The exit code (negative: the number of the signal), and the last lines.
    """
    process = subprocess.Popen(  # noqa: S603  the command contains no user input
        bound_to_parent(command),
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    grace_s: float = GRACE_S
    try:
        for line in lines_of(process.stdout) if process.stdout else ():
            # What a program prints is data: it must not move a cursor or set a link in a log.
            text = printable(line.rstrip(), keep="\t")
            tail.append(text)
            on_line(text)
        return process.wait(), tail
    except StoppedBySignal:
        grace_s = _STOP_S
        raise
    finally:
        _end(process, grace_s)


def lines_of(pipe: IO[bytes]) -> Iterator[str]:
    """Yields the lines that a process prints; a signal is handled while none comes.

    Once polars is imported, the kernel restarts a read that SIGINT interrupted (SA_RESTART of the
    handler that polars installs), so that Python would handle Ctrl-C after the next line. A poll is
    never restarted.
    """
    decoder = io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder("utf-8")("replace"), translate=True
    )
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN)
    rest = ""
    while True:
        waiting.poll()
        data = os.read(pipe.fileno(), _READ_BYTES)
        *lines, rest = (rest + decoder.decode(data, final=not data)).split("\n")
        yield from lines
        if not data:
            if rest:
                yield rest
            return


def _end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Ends the process group if it still runs: SIGTERM first, SIGKILL after the grace period."""
    if process.poll() is not None:
        return
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)
            process.wait(wait_s)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


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
