"""Entry point of the trainer: ``python -m trainer [train|verify|local]``.

It runs one command and turns any exception into an exit code of the contract.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from recsys import contract
from recsys.contract import ExitCode, TrainerInput
from recsys.errors import ConfigurationError, TransientError
from trainer.arguments import argument_parser
from trainer.commands import (
    Architecture,
    default_architecture,
    train,
    train_local,
    verify,
)
from trainer.distributed.resolver import resolve_worker_task
from trainer.exit_codes import exit_code, log_failure
from trainer.log_capture import capture_log
from trainer.termination import Terminated, Termination
from verifier.commands import predict_newer
from verifier.process import connect_store, read_input

if TYPE_CHECKING:
    from recsys.object_store import ObjectStore

log = logging.getLogger("trainer")


def main(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    architecture: Architecture = default_architecture,
) -> ExitCode:
    """Runs one command and returns its exit code; logs to stdout.

    The log of a training is stored in the run's inbox, also if the training fails.

    Args:
        arguments: command-line arguments.
        environ: environment variables.
        architecture: called when TensorFlow may be imported.
    """
    options = argument_parser().parse_args(arguments)
    with capture_log() as captured, Termination() as termination:
        store: ObjectStore | None = None
        trainer_input: TrainerInput | None = None
        try:
            if options.command == "local":
                train_local(options, environ, architecture)
            else:
                trainer_input = read_input(environ)
                store = connect_store(environ)
                if options.command == "verify":
                    verify(store, trainer_input, environ)
                    return ExitCode.OK
                if options.command == "forward":
                    predict_newer(store, trainer_input)
                    return ExitCode.OK
                if not train(store, trainer_input, environ, termination, architecture):
                    # Keep the stored log of the training that made the release.
                    return ExitCode.OK
            code = ExitCode.OK
        except (Exception, Terminated) as error:
            # TensorFlow replaces Terminated by a RuntimeError if it is raising an error itself.
            code = ExitCode.TERMINATED if termination.raised else exit_code(error)
            log_failure(error, code)
            if isinstance(error, TransientError):
                # The store is unavailable: the log cannot be stored either.
                store = None
        log.info("exit code %d (%s)", code, code.name)
        if store is not None and trainer_input is not None and _stores_log(options, environ):
            with termination.deferred():
                _store_log(store, trainer_input, captured.text())
    return code


def _stores_log(options: argparse.Namespace, environ: Mapping[str, str]) -> bool:
    """Returns whether this process stores the log: of several workers, the chief."""
    try:
        task = resolve_worker_task(environ)
    except ConfigurationError:
        return False
    return options.command not in ("verify", "forward") and (task is None or task.index == 0)


def _store_log(store: ObjectStore, trainer_input: TrainerInput, text: str) -> None:
    try:
        store.put_bytes(trainer_input.inbox_key(contract.TRAINER_LOG_FILE), text.encode())
    # Failing to store the log must not change the exit code.
    except Exception as error:
        log.warning("the log was not stored: %s", error)


if __name__ == "__main__":
    # Hide TensorFlow's banner and warnings; its errors are exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main(sys.argv[1:], os.environ))
