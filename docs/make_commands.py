"""Writes commands/ from the commands' help: ``python -m docs.make_commands``."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import typer.main

from recsys.cli.app import app
from recsys.cli.commands import ENTRIES
from recsys.cli.examples import EXAMPLES

FOLDER: Final = Path(__file__).with_name("commands")
GUIDES: Final[dict[str, tuple[str, ...]]] = {
    "demo": ("quick-start.md", "one-machine.md"),
    "run": ("releases.md", "datasets.md"),
    "validate": ("data-format.md", "datasets.md"),
    "replay": ("datasets.md",),
    "replay-history": ("adr/0025-the-forward-test.md",),
    "sample": ("quick-start.md",),
    "train": ("data-scientist.md", "build-settings.md"),
    "experiments": ("data-scientist.md",),
    "evaluate": ("data-scientist.md",),
    "tune": ("data-scientist.md", "build-settings.md"),
    "bench": ("performance.md",),
    "status": ("releases.md",),
    "why": ("releases.md", "data-scientist.md"),
    "report": ("data-scientist.md",),
    "releases": ("releases.md",),
    "mlflow": ("data-scientist.md",),
    "promote": ("releases.md",),
    "sign": ("proving-a-release.md",),
    "verify": ("proving-a-release.md",),
    "reproduce": ("proving-a-release.md",),
    "rollback": ("releases.md", "runbook.md"),
    "recover": ("releases.md", "runbook.md"),
    "adopt": ("upgrading.md",),
    "retire": ("releases.md",),
    "clean": ("runbook.md",),
    "erase": ("erasing-a-user.md",),
    "similar": ("site-developer.md",),
    "recommend": ("site-developer.md",),
    "up": ("one-machine.md",),
    "site": ("site.md", "recommenders.md"),
    "down": ("one-machine.md",),
    "env": ("one-machine.md", "site-developer.md"),
    "doctor": ("runbook.md",),
    "recommender": ("recommenders.md",),
    "inventory": ("upgrading.md",),
    "export": ("upgrading.md",),
    "import": ("upgrading.md",),
    "alerts": ("runbook.md", "monitoring.md"),
}
"""By command: the documents that say more."""

_MARK: Final = "<!-- Written by `make docs` from the command's help; a test compares them. -->"
_HEAD: Final = f"""# The commands

{_MARK}

Each page says what a command does, lists its options and has examples. It is the text of
`recsys COMMAND --help`. On a clone, `recsys` is `.venv/bin/recsys`; [in a
cluster](../deployment.md#the-command-line-in-a-cluster), every container of Airflow has it.
"""
_FOOT: Final = """
Exit codes: 0 success; 1 permanent failure, a retry will not help; 2 wrong usage; 3 `recsys verify`
proves nothing, because there is no signature or no key; 75 transient
failure, try again; 130 Ctrl-C. [settings.md](../settings.md) lists the environment variables.
"""
_SUFFIX: Final = re.compile(r"\s*\[((?:env var|default|required)[^\]]*|[^\]]*<=x[^\]]*)\]\s*$")


def pages() -> dict[str, str]:
    """Returns the text of each page by its name: a page for each command, and their list."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # typed as a command; it is a group
    found = {f"{name}.md": _page(name, commands[name]) for name in ENTRIES}
    return found | {"README.md": _list()}


def write(folder: Path = FOLDER) -> None:
    """Writes the pages, and deletes those of commands that are gone."""
    folder.mkdir(exist_ok=True)
    written = pages()
    for path in folder.glob("*.md"):
        if path.name not in written:
            path.unlink()
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")


def _list() -> str:
    parts = [_HEAD]
    for panel, entries in groupby(ENTRIES.items(), lambda entry: entry[1].panel):
        parts.append(f"\n## {panel}\n\n| command | what it does |\n| --- | --- |\n")
        parts.extend(
            f"| [`recsys {name}`]({name}.md) | {_cell(entry.summary)} |\n"
            for name, entry in entries
        )
    return "".join([*parts, _FOOT])


def _page(name: str, command: Any) -> str:
    context = typer.Context(command, info_name=f"recsys {name}", **command.context_settings)
    usage = " ".join(command.collect_usage_pieces(context))
    examples = "\n".join(EXAMPLES[name])
    guides = ", ".join(f"[{_title(guide)}](../{guide})" for guide in GUIDES[name])
    return (
        f"# recsys {name}\n\n{_MARK}\n\n{_paragraphs(command.help)}\n\n"
        f"```text\nrecsys {name} {usage}\n```\n\n"
        f"| argument or option | meaning |\n| --- | --- |\n"
        f"{''.join(_row(p, context) for p in command.get_params(context))}\n"
        f"## Examples\n\n```sh\n{examples}\n```\n\n"
        f"More: {guides}. [All commands](README.md).\n"
    )


def _row(parameter: Any, context: typer.Context) -> str:
    record = parameter.get_help_record(context)
    if record is None:
        return ""
    names, text = record
    notes: list[str] = []
    # Typer appends default, variable and range to the help, each in brackets or all in one.
    while match := _SUFFIX.search(text):
        notes[:0] = match[1].split("; ")
        text = text[: match.start()]
    shown = ", ".join(f"`{name.strip()}`" for name in names.split("  ") if name.strip())
    note = f" *{_cell('; '.join(notes))}*" if notes else ""
    return f"| {_cell(shown)} | {_cell(text)}{note} |\n"


def _paragraphs(text: str) -> str:
    return text.replace("\\[", "[").strip()


def _cell(text: str) -> str:
    return " ".join(text.replace("\\[", "[").replace("|", "\\|").split())


def _title(guide: str) -> str:
    heading = (FOLDER.parent / guide).read_text(encoding="utf-8").partition("\n")[0]
    return heading.removeprefix("# ")


if __name__ == "__main__":
    write()
