"""The command ``recsys``."""

from __future__ import annotations

import logging
import sys

import typer

from recsys.cli.commands import LazyGroup
from recsys.cli.terminal import accept_any_terminal
from recsys.errors import RecsysError

app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Retrain a movie recommender; promote its model and vectors as one pair.\n\n"
    "Start with [bold]recsys demo[/]. Airflow need not be running; PostgreSQL and S3 are started "
    "for a command if necessary. All data is in .recsys/ (or RECSYS_HOME). To use other servers, "
    "set RECSYS_PG_DSN, RECSYS_S3_* and AWS_*.\n\n"
    "Exit codes: 0 success; 1 permanent failure; 2 wrong usage; 75 temporary failure, try again.",
)


@app.callback(invoke_without_command=False)
def recsys() -> None:
    """Retrain a movie recommender."""


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
    try:
        app()
    except RecsysError as error:
        from recsys.cli import output

        output.print_error(error)
        sys.exit(output.exit_code(error))


if __name__ == "__main__":
    main()
