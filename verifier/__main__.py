"""Entry point of the verifier: ``python -m verifier [verify]``.

It runs one command and turns any exception into an exit code of the contract.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from recsys import contract
from recsys.contract import STARS, ExitCode, RatingScale
from recsys.errors import PermanentError, TransientError
from verifier.commands import predict_file, predict_newer, verify_candidate
from verifier.process import (
    connect_store,
    exhausted_resource,
    exhaustion_advice,
    exit_code,
    read_input,
)
from verifier.second_backend import choose_backend

log = logging.getLogger("verifier")

VERIFY: Final = "verify"
FORWARD: Final = "forward"

_HELP: Final = f"""\
Checks a stored candidate in a fresh process, and measures it.

commands:
  verify   (default) load the served model with stock Keras and compare its answers with the golden
           predictions; predict and rank the holdout of the build's features with the evaluated
           model and towers, and with the champion's; write the sealed metrics to the run's inbox

  forward  predict the stars of newer ratings with served releases, and write them, sealed, to the
           run's inbox
  forward MODEL PAIRS PREDICTIONS
           predict stars with a model's file for the userId and movieId of a parquet file, and write
           them to another one; reads no environment and reaches no server; with --light on Keras'
           NumPy backend, which starts faster, for a model that any backend loads; --scale MIN:MAX
           is that of its dataset, 0.5:5 by default

environment: that of the trainer (`python -m trainer --help`), and
  {contract.ENV_SEAL}         key that seals what is written, in hex digits; without it, nothing is
                      written
  {contract.ENV_FORWARD}      of forward: ids of the served releases, separated by commas

exit codes: those of the trainer
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(ExitCode.BAD_CONFIG, f"{message}; see `python -m verifier --help`\n")


def main(
    arguments: Sequence[str], environ: Mapping[str, str], *, second_backend: bool = True
) -> ExitCode:
    """Runs one command and returns its exit code.

    Args:
        arguments: command-line arguments.
        environ: environment variables.
        second_backend: see `verifier.commands.verify_candidate`.
    """
    parser = _Parser(
        prog="python -m verifier",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", nargs="?", choices=[FORWARD, VERIFY], default=VERIFY)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--light", action="store_true")
    parser.add_argument("--scale", type=RatingScale.parse, default=STARS)
    # A flag may stand between the command and its files.
    options = parser.parse_intermixed_args(arguments)
    is_forward = options.command == FORWARD
    if len(options.files) not in ((0, 3) if is_forward else (0,)):
        parser.error(f"found {len(options.files)} files, which {options.command} does not take")
    if options.light and not options.files:
        parser.error("--light is for a model's file")
    code = ExitCode.OK
    try:
        if options.light:
            choose_backend()
        if options.files:
            model, pairs, predictions = options.files
            predict_file(model, pairs, predictions, options.scale)
            return code
        trainer_input = read_input(environ)
        if is_forward:
            predict_newer(connect_store(environ), trainer_input)
            return code
        verify_candidate(
            connect_store(environ), trainer_input, environ, second_backend=second_backend
        )
    except Exception as error:
        code = exit_code(error)
        _log_failure(error, code)
    log.info("exit code %d (%s)", code, code.name)
    return code


def _log_failure(error: Exception, code: ExitCode) -> None:
    if resource := exhausted_resource(error):
        advice = exhaustion_advice(resource, "raise the verifier's limit")
        log.error("%s ran out: %s; what to do: %s", resource, error, advice)
    elif isinstance(error, (PermanentError, TransientError)) and code != ExitCode.INTERNAL:
        log.error("%s", error)
    else:
        log.error("a defect of the verifier", exc_info=error)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    # Nothing is to be cleaned up but temporary files, which are the container's.
    log.error("terminated by SIGTERM: nothing was written")
    raise SystemExit(ExitCode.TERMINATED)


def _log_to_stdout() -> None:
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


if __name__ == "__main__":
    # Hide TensorFlow's banner and warnings; its errors are exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    signal.signal(signal.SIGTERM, _terminate)
    _log_to_stdout()
    sys.exit(main(sys.argv[1:], os.environ))
