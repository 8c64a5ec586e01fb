"""How commands speak: tables for people, JSON for machines, errors that say what to do."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from recsys.database import PostgresSettings
from recsys.embedded import stack
from recsys.embedded.home import Home
from recsys.errors import RecsysError, TransientError
from recsys.object_store import S3Settings
from recsys.services import Services

if TYPE_CHECKING:
    from recsys.ledger import Actor


class LateConsole(Console):
    """A console that looks at the environment and the terminal when it is first used."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    def __getattr__(self, name: str) -> Any:
        # Asked only for what is missing, as everything is until the first use.
        if "_options" not in self.__dict__:
            raise AttributeError(name)
        super().__init__(**self.__dict__.pop("_options"))
        return getattr(self, name)


console = LateConsole(highlight=False)
errors = LateConsole(stderr=True, highlight=False)

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document for machines instead of tables.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
ReasonOption = Annotated[
    str, typer.Option("--reason", help="Why; it is kept in the ledger's history.")
]

EXIT_FAILED = 1
EXIT_TRY_AGAIN = 75


def print_json(document: Any) -> None:
    """Prints a document on standard output."""
    typer.echo(json.dumps(document, indent=2, default=str))


def table(*columns: str, title: str | None = None) -> Table:
    """A table in the house's plain style that fits 80 columns."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column.strip(), justify="right" if column.startswith(" ") else "left")
    return made


def print_error(error: RecsysError) -> None:
    """Prints an error as sentence, found, expected, what to do."""
    errors.print(f"[bold red]error:[/] {safe(error.message)}")
    for name, value in (
        ("found", error.found),
        ("expected", error.expected),
        ("what to do", error.hint),
    ):
        if value:
            errors.print(f"  [bold]{name}:[/] {safe(value)}")


def exit_code(error: RecsysError) -> int:
    """1 for what another try cannot mend, 75 for what it may."""
    return EXIT_TRY_AGAIN if isinstance(error, TransientError) else EXIT_FAILED


@contextmanager
def services() -> Iterator[Services]:
    """The servers that a command reads: those of the environment, else the embedded ones.

    Embedded servers that are not running are started, and stopped again at the end.
    """
    if os.environ.get("RECSYS_PG_DSN"):
        yield Services.from_environment()
        return
    home = Home()
    with ExitStack() as opened:
        with errors.status("starting PostgreSQL and S3, unless they run"):
            opened.enter_context(stack.data_services(home))
        yield embedded_services(home)


def embedded_services(home: Home) -> Services:
    """The servers of an embedded stack."""
    variables = stack.environment(home)
    return Services(
        postgres=PostgresSettings.model_validate({"dsn": variables["RECSYS_PG_DSN"]}),
        s3=S3Settings.from_environment({**os.environ, **variables}),
    )


def user_name() -> str:
    """Returns the user's name for the ledger's history: ``RECSYS_ACTOR``, else the account."""
    import getpass

    return os.environ.get("RECSYS_ACTOR") or getpass.getuser()


def actor(reason: str) -> Actor:
    """Returns the user of this command, with the reason for the change."""
    from recsys.ledger import Actor

    return Actor.from_command_line(user_name(), reason)


def confirm(question: str, yes: bool) -> None:
    """Asks before something changes; ends the command when the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody is here to ask: add --yes")
    # Standard output is for the answer, which may be JSON.
    typer.confirm(question, abort=True, err=True)


def safe(text: str) -> str:
    """Text from outside, so that its brackets are printed instead of obeyed."""
    from rich.markup import escape

    return escape(text)
