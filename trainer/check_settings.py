"""Checks settings without training: ``python -m trainer.check_settings rating.epochs=12 ...``.

Prints one line for each that is invalid, and exits with 78 (BAD_CONFIG) if there is one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from recsys.contract import ExitCode
from recsys.errors import ConfigurationError
from trainer.config import gather_overrides, training_config


def invalid_assignments(assignments: Iterable[str]) -> list[str]:
    """Returns in words what is wrong with each assignment that is invalid."""
    found = []
    for assignment in assignments:
        try:
            training_config(gather_overrides(None, {}, [assignment]))
        except ConfigurationError as error:
            found.append(f"{assignment}: {error.message}; {error.hint or error.expected}")
    return found


def main() -> int:
    """Runs the command; returns its exit code."""
    found = invalid_assignments(sys.argv[1:])
    for line in found:
        print(line)
    return ExitCode.BAD_CONFIG if found else ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
