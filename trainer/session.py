"""Runs commands of trainer and verifier one after the other in one process: ``trainer.session``.

A replay of a history trains and measures dozens of small models, each in less time than importing
TensorFlow takes. A pipeline in production gives each command a process of its own.

Each line of stdin is a request: a JSON object with ``program`` (``trainer`` or ``verifier``),
``arguments`` and ``environment``. Stdout gets the lines that the command logs, and then one that
contains `END` and the exit code. The end of stdin ends the process.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, TextIO

from recsys.contract import SESSION_END, ExitCode

END: Final = SESSION_END


class _Main(Protocol):
    def __call__(self, arguments: Sequence[str], environ: Mapping[str, str], /) -> ExitCode: ...


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answers requests until there are no more, or SIGTERM ended a command.

    Args:
        requests: one request a line.
        answers: gets a line for the end of each request.
    """
    mains: dict[str, _Main] = {"trainer": _train, "verifier": _Verifier()}
    first = True
    for line in requests:
        request: dict[str, Any] = json.loads(line)
        try:
            code = int(mains[request["program"]](request["arguments"], request["environment"]))
        # Wrong arguments, or a signal while a command ran.
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ExitCode.INTERNAL)
        _free_models(first=first)
        first = False
        print(f"{END}{code}", file=answers, flush=True)
        if code == ExitCode.TERMINATED:
            return


def _free_models(*, first: bool) -> None:
    keras = sys.modules.get("keras")
    if keras is not None:
        # It collects garbage.
        keras.backend.clear_session()
    if first:
        # A collection need not look at TensorFlow's modules again, which takes a second.
        gc.freeze()


class _Verifier:
    """Runs the verifier; only the first model of a session is checked on a second backend.

    All models of a session are saved by the same code with the same layers.
    """

    def __init__(self) -> None:
        self._verified = False

    def __call__(self, arguments: Sequence[str], environ: Mapping[str, str]) -> ExitCode:
        from trainer.log_capture import capture_log
        from verifier.__main__ import main

        with capture_log():
            code = main(arguments, environ, second_backend=not self._verified)
        self._verified = self._verified or (code == ExitCode.OK and "verify" in arguments)
        return code


def _train(arguments: Sequence[str], environ: Mapping[str, str]) -> ExitCode:
    from trainer.__main__ import main

    return main(arguments, environ)


if __name__ == "__main__":
    # Hide TensorFlow's banner and warnings; its errors are exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    serve(sys.stdin, sys.stdout)
