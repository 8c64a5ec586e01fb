"""The command that shows a release's report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from recsys import ledger
from recsys.cli import output
from recsys.cli.output import JsonOption, console
from recsys.embedded.home import Home
from recsys.errors import ConfigurationError, LedgerError
from recsys.services import Services


def report(
    release: Annotated[
        str | None, typer.Argument(help="A release id; by default the champion.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="The HTML file to write; by default under .recsys/reports."
        ),
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="Make it anew instead of taking the one stored by the run."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a release's report: one HTML file that needs nothing else.

    Gate, metrics with confidence intervals, training curves, slices, data and drift, neighbours
    and recommendations now and before, lineage. For light, dark and paper.
    """
    with output.services() as services:
        with services.connect() as conn:
            ledger.check_current(conn)
            found = ledger.get(conn, release) if release else ledger.champion(conn)
        if found is None:
            raise LedgerError(
                "nothing was promoted yet", hint="`recsys report RELEASE` shows another release"
            )
        path = save(services, found.release_id, out, again=again)
    if as_json:
        output.print_json({"release_id": found.release_id, "path": str(path)})
    else:
        console.print(f"report of {found.release_id}: {output.safe(str(path))}", soft_wrap=True)
    if open_it:
        typer.launch(path.as_uri())


def save(services: Services, release_id: str, out: Path | None = None, *, again: bool) -> Path:
    """Writes a release's report to a file, and stores it where the run did not; returns the path.

    Raises:
        LedgerError: the release is not complete, or retired.
        ConfigurationError: the file cannot be written.
    """
    # Drawing needs a library that takes half a second to import: too long for every command.
    from recsys import reports

    path = out or Home().folder("reports") / f"{release_id}.html"
    with console.status("making the report"):
        page = None if again else reports.stored_report(services, release_id)
        if page is None:
            reports.make_report(services, release_id)
            page = reports.stored_report(services, release_id) or ""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise ConfigurationError(
            "the report cannot be written",
            found=f"{path}: {error.strerror}",
            expected="a folder that exists and may be written to",
            hint="name another file with --out",
        ) from error
    return path.resolve()
