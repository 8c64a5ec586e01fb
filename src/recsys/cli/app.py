"""The command ``recsys``."""

from __future__ import annotations

import errno
import logging
import os
import sys
from typing import Annotated, Final

import typer

from recsys.cli import interruption
from recsys.cli.commands import HELP_OPTIONS, LazyGroup
from recsys.cli.terminal import accept_any_terminal
from recsys.errors import OutOfMemoryError, RecsysError, StoppedBySignal

app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": HELP_OPTIONS},
    help="Retrain a movie recommender; promote its model and vectors as one pair.\n\n"
    "Start with [bold]recsys demo[/]. Airflow need not be running; PostgreSQL and S3 are started "
    "for a command if necessary. All data is in .recsys/ (or RECSYS_HOME). To use other servers, "
    "set RECSYS_PG_DSN, RECSYS_S3_* and AWS_*.\n\n"
    "Exit codes: 0 success; 1 permanent failure; 2 wrong usage; 75 temporary failure, try again.",
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib import metadata

        typer.echo(f"recsys {metadata.version('recsys')}")
        raise typer.Exit


@app.callback(invoke_without_command=False)
def recsys(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            is_eager=True,
            callback=_print_version,
            help="Print the version and exit.",
        ),
    ] = False,
    recommender: Annotated[
        str,
        typer.Option(
            "--recommender",
            "-r",
            metavar="NAME",
            envvar="RECSYS_RECOMMENDER",
            help="Recommender that the command is for.",
            show_default=False,
            show_envvar=False,
        ),
    ] = "",
) -> None:
    """Retrain a movie recommender."""
    if recommender:
        # Also for the processes that the command starts.
        os.environ["RECSYS_RECOMMENDER"] = recommender


_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class LateHandler(logging.Handler):
    """A log handler that imports Rich for its first record."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints a record on standard error."""
        from rich.logging import RichHandler

        from recsys.cli import output

        RichHandler(console=output.errors, show_time=False, show_path=False).emit(record)


def main() -> None:
    """Runs the command line; prints errors of the domain and exits with their code."""
    accept_any_terminal()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[LateHandler()])
    interruption.end_by_signals()
    try:
        app()
    except StoppedBySignal as stopped:
        sys.exit(interruption.exit_code(stopped.number))
    except RecsysError as error:
        from recsys.cli import output

        output.print_error(error)
        sys.exit(output.exit_code(error))
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        from recsys.cli import extras, output

        if module not in extras.EXTRAS:
            raise
        output.print_error(extras.missing_modules([module], only_reads=True))
        sys.exit(output.EXIT_FAILED)
    except MemoryError as error:
        from recsys.cli import output

        output.print_error(
            OutOfMemoryError(
                "memory ran out",
                found=str(error) or None,
                hint="raise the limit of the process (`ulimit -v`, the container's or the pod's), "
                "or use a smaller dataset; docs/performance.md has what each stage needs",
            )
        )
        sys.exit(output.EXIT_TRY_AGAIN)
    except OSError as error:
        from recsys.cli import output

        # A folder that cannot be written to, a disk that is full: a traceback would not help.
        place = f"{error.filename}: " if error.filename else ""
        output.errors.print(
            f"[bold red]error:[/] {output.safe(f'{place}{error.strerror or error}')}"
        )
        sys.exit(output.EXIT_TRY_AGAIN if error.errno in _FULL else output.EXIT_FAILED)


if __name__ == "__main__":
    main()
