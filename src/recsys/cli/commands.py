"""The commands by name; a command's module is imported when the command is used.

Importing the modules of all commands takes longer than most commands. The list of commands in
``recsys --help`` and the completion of their names use the summaries in this file. A test compares
them with the docstrings.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from recsys.cli.examples import examples_of, wrapped_help
from recsys.cli.metavars import NamedValues, name_values

if TYPE_CHECKING:
    from collections.abc import Callable

_PIPELINE, _RELEASES, _ASK, _STACK = "Pipeline", "Releases", "Ask the live release", "Stack"


HELP_OPTIONS: Final = ["--help", "-h"]


@dataclass(frozen=True)
class Entry:
    """Where a command is, and how the list of commands shows it.

    Attributes:
        function: module and function, ``"runs:demo"`` for ``recsys.cli.runs.demo``.
        panel: heading in the list of commands.
        summary: the first sentence of the function's docstring.
    """

    function: str
    panel: str
    summary: str

    def load(self, name: str) -> Any:
        """Imports the command's module and returns the command."""
        module, _, attribute = self.function.partition(":")
        callback: Callable[..., None] = getattr(
            importlib.import_module(f"recsys.cli.{module}"), attribute
        )
        single = typer.Typer(
            add_completion=False,
            rich_markup_mode="rich",
            pretty_exceptions_show_locals=False,
            context_settings={"help_option_names": HELP_OPTIONS},
        )
        single.command(
            name,
            cls=NamedValues,
            help=wrapped_help(callback),
            epilog=examples_of(name),
            rich_help_panel=self.panel,
        )(callback)
        return typer.main.get_command(single)

    def line(self, name: str) -> TyperCommand:
        """Returns what stands for the command in the list of commands."""
        return TyperCommand(name, help=self.summary, rich_help_panel=self.panel)


ENTRIES: Final[dict[str, Entry]] = {
    "demo": Entry(
        "runs:demo",
        _PIPELINE,
        "Run the whole pipeline once on this machine and show the results.",
    ),
    "run": Entry(
        "runs:run",
        _PIPELINE,
        "Run the pipeline: through Airflow if `recsys up` is running, else in this process.",
    ),
    "validate": Entry(
        "data:validate",
        _PIPELINE,
        "Validate a dataset: rows per rule, examples of invalid rows, and a summary.",
    ),
    "replay": Entry(
        "replay:replay_rows",
        _PIPELINE,
        "Validate quarantined rows again after a fix, and make a new dataset of the valid rows.",
    ),
    "replay-history": Entry(
        "history:replay_history",
        _PIPELINE,
        "Replay a dataset's history: the real steps and the real gate, dump after dump.",
    ),
    "sample": Entry(
        "runs:make_sample",
        _PIPELINE,
        "Generate a dataset in MovieLens format, with structure that a model can learn.",
    ),
    "train": Entry(
        "train:train",
        _PIPELINE,
        "Train on a dataset and compare the model with baselines and the champion; "
        "needs no server.",
    ),
    "experiments": Entry(
        "experiments:experiments_command",
        _PIPELINE,
        "List, show or compare the trainings of `recsys train`; needs no server.",
    ),
    "evaluate": Entry(
        "evaluation:evaluate",
        _PIPELINE,
        "Compare the trainer with baselines on a standard split of a dataset; needs no server.",
    ),
    "tune": Entry(
        "tuning:tune",
        _PIPELINE,
        "Search for better settings of the trainer, without looking at the holdout.",
    ),
    "bench": Entry(
        "bench:bench",
        _PIPELINE,
        "Measure all but training: from a zip to vectors in a checked index; or a whole run.",
    ),
    "status": Entry(
        "release_views:show_status",
        _RELEASES,
        "Show the champion, the previous champion, and the state of journal and public copies.",
    ),
    "why": Entry(
        "release_views:why",
        _RELEASES,
        "Explain the state of a release: the gate's decision, diff, data, and who did what "
        "and why.",
    ),
    "report": Entry(
        "report:report",
        _RELEASES,
        "Write a release's report as one self-contained HTML file.",
    ),
    "releases": Entry(
        "release_views:list_releases",
        _RELEASES,
        "List all releases, newest first, with their states and metrics.",
    ),
    "promote": Entry(
        "releases:promote",
        _RELEASES,
        "Make an accepted release the champion: model and vectors as one pair.",
    ),
    "rollback": Entry(
        "releases:rollback",
        _RELEASES,
        "Make an earlier release the champion again: model and vectors as one pair.",
    ),
    "recover": Entry(
        "releases:recover",
        _RELEASES,
        "Undo an interrupted promotion and restore the public copies; safe at any time.",
    ),
    "adopt": Entry(
        "releases:adopt",
        _RELEASES,
        "Connect this database's ledger with a bucket of another ledger, or of an older "
        "installation.",
    ),
    "retire": Entry(
        "releases:retire",
        _RELEASES,
        "Drop tables and objects of old releases; never those of the champion or the previous one.",
    ),
    "erase": Entry(
        "erasure:erase",
        _RELEASES,
        "Erase users: hide them at once, build a release without them, delete what knows them.",
    ),
    "clean": Entry(
        "cleaning:clean",
        _RELEASES,
        "Delete orphans: tables and files of this project that no release or build needs.",
    ),
    "sign": Entry(
        "proof:sign",
        _RELEASES,
        "Sign releases that have no signature, or one of an earlier key.",
    ),
    "verify": Entry(
        "proof:verify",
        _RELEASES,
        "Prove a release: from its dataset to the served names, with what was changed.",
    ),
    "reproduce": Entry(
        "reproduction:reproduce",
        _RELEASES,
        "Make a release again from its recorded dataset and settings, and compare every part.",
    ),
    "mlflow": Entry(
        "model_registry:export_to_mlflow",
        _RELEASES,
        "Export releases to the model registry of MLflow; nothing is read back from it.",
    ),
    "similar": Entry(
        "queries:similar",
        _ASK,
        "List the movies most similar to one, by cosine similarity of the live movie vectors.",
    ),
    "recommend": Entry(
        "queries:recommend",
        _ASK,
        "Recommend movies to a user of the dataset, or to a new user with a few ratings.",
    ),
    "up": Entry(
        "stack:up",
        _STACK,
        "Start PostgreSQL, S3, Airflow and the site, and leave them running.",
    ),
    "site": Entry(
        "site:site",
        _STACK,
        "Start the reference site of a recommender, and leave it running.",
    ),
    "down": Entry(
        "stack:down",
        _STACK,
        "Stop everything that `recsys up` started; the data is kept.",
    ),
    "env": Entry(
        "stack:env",
        _STACK,
        "Print the variables with which psql, boto3 and others reach the stack; contains secrets.",
    ),
    "recommender": Entry(
        "recommenders:recommender",
        _STACK,
        "List, check, add or remove recommenders, each described by one file.",
    ),
    "doctor": Entry(
        "stack:doctor",
        _STACK,
        "Check servers, ledger, champion and public copies; changes nothing.",
    ),
    "inventory": Entry(
        "inventory:inventory",
        _STACK,
        "List what there is: releases, tables, objects, roles, and what Airflow has.",
    ),
    "export": Entry(
        "moving:export",
        _STACK,
        "Write ledger, vectors and objects to a folder, for moving to other servers.",
    ),
    "import": Entry(
        "moving:import_export",
        _STACK,
        "Make an exported recommender in an empty database and bucket, and serve it.",
    ),
    "alerts": Entry(
        "alerts:show_alerts",
        _STACK,
        "Show which channels receive alerts, or send a test to each of them.",
    ),
}


class LoadedCommands(Mapping[str, Any]):
    """The commands by name; each is imported when it is read."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """Returns a command; raises KeyError if there is none of this name."""
        if name not in self._loaded:
            self._loaded[name] = ENTRIES[name].load(name)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        """Iterates over the names, in the order of the list of commands."""
        return iter(ENTRIES)

    def __len__(self) -> int:
        """Returns the number of commands."""
        return len(ENTRIES)


class _Text:
    """Stands for Typer's conversion of a text, which is one."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> str:
        """Returns the text."""
        return str(value or "")


class LazyGroup(TyperGroup):
    """The group of all commands. Listing them imports none of them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands: Any = LoadedCommands()

    def get_params(self, ctx: Any) -> Any:
        """Returns the parameters, also --help."""
        parameters = name_values(super().get_params(ctx))
        for parameter in parameters:
            # These are flags, and None is Typer's default of its own: --help, and those about
            # completion. It would be checked by pydantic, and importing that takes longer than
            # all other work for a command's help.
            if parameter.default is None:
                parameter.default = False
            elif parameter.name == "recommender":
                # A text needs no conversion either.
                parameter._runtime_param = _Text()
        return parameters

    def list_commands(self, ctx: Any) -> list[str]:
        """Returns the names of the commands."""
        return list(self.commands)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Writes the help with the list of commands."""
        TyperGroup.format_help(self._listed(), ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Completes the name of a command, or an option of the group."""
        ctx.command = self._listed()
        return super().shell_complete(ctx, incomplete)

    def _listed(self) -> LazyGroup:
        """Returns this group with the summaries of its commands."""
        listed = copy.copy(self)
        listed.commands = {name: entry.line(name) for name, entry in ENTRIES.items()}
        return listed
