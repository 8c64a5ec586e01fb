"""The command `report`: writes a release's report to a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys import ledger, reports
from recsys.cli import output
from recsys.cli.output import JsonOption, console
from recsys.embedded.home import Home
from recsys.errors import ConfigurationError, LedgerError

if TYPE_CHECKING:
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
    open_it: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="Render it again instead of using the stored report."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a release's report as one self-contained HTML file.

    It shows the gate's decision, metrics with confidence intervals, training curves, slices, data
    and drift, neighbors and recommendations before and after, and lineage.
    """
    with output.services() as services:
        with services.connect() as conn:
            ledger.check_current(conn)
            found = ledger.get(conn, release) if release else ledger.champion(conn)
        if found is None:
            raise LedgerError(
                "nothing was promoted yet", hint="name a release: `recsys report RELEASE`"
            )
        path = save(services, found.release_id, out, again=again)
    if as_json:
        output.print_json({"release_id": found.release_id, "path": str(path)})
    else:
        console.print(f"report of {found.release_id}: {output.safe(str(path))}", soft_wrap=True)
    if open_it:
        typer.launch(path.as_uri())


def save(services: Services, release_id: str, out: Path | None = None, *, again: bool) -> Path:
    """Writes a release's report to a file and returns the path; renders it if none is stored.

    Raises:
        LedgerError: the release is incomplete or retired.
        ConfigurationError: the file cannot be written.
    """
    path = out or Home().folder("reports") / f"{release_id}.html"
    with console.status("rendering the report"):
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
            "the report could not be written",
            found=f"{path}: {error.strerror}",
            expected="an existing, writable folder",
            hint="choose another file with --out",
        ) from error
    return path.resolve()
