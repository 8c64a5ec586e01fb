"""Output shared by all commands: tables, JSON, errors, confirmation; and the servers they use."""

from __future__ import annotations

import getpass
import json
import os
import pkgutil
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recsys.errors import ConfigurationError, RecsysError, TransientError, printable

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType
    from rich.live import Live
    from rich.segment import Segment

    from recsys.embedded.home import Home
    from recsys.ledger import Actor
    from recsys.recommenders import Description
    from recsys.services import Services

# The help of a command loads this module: the servers' clients are imported when they are used.


class LateConsole(Console):
    """A console that reads the environment at its first use, and the width at each one."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    def set_live(self, live: Live) -> bool:
        """Notes that a table or spinner is being updated."""
        self.lives = getattr(self, "lives", 0) + 1
        return super().set_live(live)

    def clear_live(self) -> None:
        """Notes that one table or spinner is no longer updated."""
        self.lives = getattr(self, "lives", 0) - 1
        super().clear_live()

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Renders text without control characters, wherever it comes from."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield segment._replace(text=printable(segment.text, keep="\n\t"))

    def __getattr__(self, name: str) -> Any:
        # Called for missing attributes only: all of them, until the first use.
        if "_options" not in self.__dict__:
            raise AttributeError(name)
        options = self.__dict__.pop("_options")
        super().__init__(**options)
        # Rich keeps COLUMNS of this moment, but looks at a terminal's width each time.
        self._width = options.get("width")
        return getattr(self, name)


# Without emoji: a title with ":heart:" is shown as it is.
console = LateConsole(highlight=False, emoji=False)
errors = LateConsole(stderr=True, highlight=False, emoji=False)


def busy_console() -> Console:
    """Returns the console whose table or spinner is being updated; else standard error's."""
    return console if console.__dict__.get("lives") else errors


JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of tables.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
ReasonOption = Annotated[
    str, typer.Option("--reason", help="Reason; recorded in the ledger's history.")
]

_QUOTED_LINES = 12
EXIT_FAILED = 1
EXIT_TRY_AGAIN = 75


def print_json(document: Any) -> None:
    """Prints a JSON document on standard output."""
    typer.echo(json.dumps(document, indent=2, default=str))


def table(*columns: str, title: str | None = None) -> Table:
    """Makes a table without borders; a column whose name starts with a blank is right-aligned."""
    result = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        result.add_column(column.strip(), justify="right" if column.startswith(" ") else "left")
    return result


def print_error(error: RecsysError) -> None:
    """Prints an error: message, found, expected, what to do.

    The lines of a log that it quotes are printed before it, cut so that all is on one screen.
    """
    hint, _, quoted = error.hint.partition("\n")
    for line in quoted.splitlines()[-_QUOTED_LINES:]:
        errors.print(safe(line[: errors.width]), style="dim", no_wrap=True)
    errors.print(f"[bold red]error:[/] {safe(error.message)}")
    for name, value in (
        ("found", error.found),
        ("expected", error.expected),
        ("what to do", hint),
    ):
        if value:
            errors.print(f"  [bold]{name}:[/] {safe(value, lines=True)}")


def command() -> str:
    """Returns what to type for this command line: ``recsys``, or its path if it is not on PATH.

    With ``-r NAME`` for a recommender that is not the first one.
    """
    from recsys import recommenders

    used = Path(sys.argv[0])
    program = "recsys"
    if used.name == "recsys" and shutil.which("recsys") != str(used):
        program = shlex.quote(short_path(used.absolute()))
    name = recommenders.chosen_recommender()
    return program if name == recommenders.FIRST_RECOMMENDER else f"{program} -r {name}"


def short_path(path: Path) -> str:
    """Returns a path relative to the working directory if it is below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def exit_code(error: RecsysError) -> int:
    """Returns 75 for a transient error, else 1."""
    return EXIT_TRY_AGAIN if isinstance(error, TransientError) else EXIT_FAILED


@contextmanager
def services() -> Iterator[Services]:
    """Yields the servers of the chosen recommender; see `shared_services`."""
    with shared_services() as shared:
        # The function that RECSYS_SERVICES names looks at the chosen recommender itself.
        if not os.environ.get("RECSYS_PG_DSN") and os.environ.get("RECSYS_SERVICES"):
            yield shared
        else:
            yield of_chosen_recommender(shared)


def of_chosen_recommender(shared: Services) -> Services:
    """Returns the servers of the recommender that ``-r`` names; the shared ones without it."""
    from recsys import recommenders

    name = recommenders.chosen_recommender()
    if name == recommenders.FIRST_RECOMMENDER:
        return shared
    return recommenders.services_of(description(name), shared)


def descriptions_folder() -> Path:
    """Returns the folder of the descriptions: ``RECSYS_RECOMMENDERS``, else the project's."""
    from recsys import recommenders
    from recsys.embedded.home import source_folder

    return recommenders.folder() or source_folder() / "recommenders"


def description(name: str) -> Description:
    """Returns the description of a recommender.

    Raises:
        ConfigurationError: there is none, or it is invalid.
    """
    from recsys import recommenders

    found = recommenders.read_descriptions(descriptions_folder())
    if name not in found.valid:
        for file, error in found.errors.items():
            if file.stem == name:
                raise error
        raise ConfigurationError(
            "there is no such recommender",
            found=name,
            expected=f"one of {', '.join(found.valid) or 'none'}",
            hint=f"describe it in {descriptions_folder()}, or recsys recommender add {name[:40]}",
        )
    return found.valid[name]


@contextmanager
def shared_services() -> Iterator[Services]:
    """Yields the servers of the environment variables, else the embedded ones.

    The first that is set decides: ``RECSYS_PG_DSN`` with ``RECSYS_S3_*``; ``RECSYS_SERVICES``,
    which names a function that returns them, as Airflow's image does for Airflow's Connections.
    Embedded servers that are not running are started, and stopped at the end.
    """
    from recsys.services import Services

    if os.environ.get("RECSYS_PG_DSN"):
        yield Services.from_environment()
        return
    if named := os.environ.get("RECSYS_SERVICES"):
        yield _named_services(named)
        return
    from recsys.embedded import stack
    from recsys.embedded.home import Home

    home = Home()
    with ExitStack() as opened:
        with errors.status("starting PostgreSQL and S3"):
            opened.enter_context(stack.data_services(home))
        yield _embedded(home)


def are_named() -> bool:
    """Whether variables name the servers, so that the embedded ones are not used."""
    return bool(os.environ.get("RECSYS_PG_DSN") or os.environ.get("RECSYS_SERVICES"))


def _named_services(name: str) -> Services:
    from recsys.services import Services

    try:
        found = pkgutil.resolve_name(name)()
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            "RECSYS_SERVICES names no function",
            found=f"{name}: {error}",
            expected="package.module:function, which returns recsys.services.Services",
        ) from error
    if not isinstance(found, Services):
        raise ConfigurationError(
            f"{name} returned no servers",
            found=type(found).__name__,
            expected="recsys.services.Services",
        )
    return found


def embedded_services(home: Home) -> Services:
    """Returns the servers of an embedded stack, for the chosen recommender."""
    return of_chosen_recommender(_embedded(home))


def make_servers_ready(home: Home) -> None:
    """Makes the database of the chosen recommender on an embedded stack, unless it exists."""
    from recsys import recommenders

    name = recommenders.chosen_recommender()
    if name != recommenders.FIRST_RECOMMENDER:
        recommenders.provision(description(name), _embedded(home))


def _embedded(home: Home) -> Services:
    from recsys.contract import ENV_S3_PREFIX
    from recsys.database import PostgresSettings
    from recsys.embedded import stack
    from recsys.object_store import S3Settings
    from recsys.services import Services

    variables = stack.environment(home)
    return Services(
        postgres=PostgresSettings.model_validate({"dsn": variables["RECSYS_PG_DSN"]}),
        # A prefix in the environment belongs to the bucket of other servers.
        s3=S3Settings.from_environment({**os.environ, ENV_S3_PREFIX: "", **variables}),
    )


def user_name() -> str:
    """Returns the user's name for the ledger's history: ``RECSYS_ACTOR``, else the account."""
    try:
        return os.environ.get("RECSYS_ACTOR") or getpass.getuser()
    except (KeyError, OSError):
        # A container with an arbitrary uid has no entry in the list of accounts.
        return f"uid {os.getuid()}"


def actor(reason: str) -> Actor:
    """Returns the user of this command, with the reason for the change."""
    from recsys.ledger import Actor

    return Actor.from_command_line(user_name(), reason)


def confirm(question: str, yes: bool) -> None:
    """Asks for confirmation; aborts the command if the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("no terminal to ask for confirmation: add --yes")
    # Standard output is for the result, which may be JSON.
    typer.confirm(question, abort=True, err=True)


def safe(text: str, *, lines: bool = False) -> str:
    """Escapes text from outside, such as titles, log lines and paths, for a table or `print`.

    Its brackets are not interpreted as Rich's markup, and it has no control characters. Without
    line feeds it cannot pretend to be another line.

    Args:
        text: the text.
        lines: whether line feeds stay, as in an error that quotes a log.
    """
    return escape(printable(text, keep="\n\t" if lines else ""))
