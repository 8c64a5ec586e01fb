"""The command that deletes what nothing needs any more."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from recsys import ledger, releases
from recsys.cli import output
from recsys.cli.defaults import ORPHAN_HOURS
from recsys.cli.output import JsonOption, ReasonOption, YesOption, console

_HOUR = timedelta(hours=1)


def clean(
    older_than: Annotated[
        float,
        typer.Option(
            "--older-than-hours", min=1, help="Hours for which an orphan must not have changed."
        ),
    ] = ORPHAN_HOURS,
    unknown: Annotated[
        bool,
        typer.Option(
            "--unknown-releases",
            help="Also delete complete releases that the ledger does not know.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be deleted; change nothing.")
    ] = False,
    reason: ReasonOption = "orphans",
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete orphans: tables and files of this project that no release or build needs.

    Killed tasks and cleared tasks of abandoned runs can leave them. Nothing of another application
    and nothing of a running build is deleted; promotions go on meanwhile.
    """
    grace = older_than * _HOUR
    with output.services() as services:
        with services.connect() as conn:
            ledger.check_current(conn)
            found = releases.find_orphans(conn, services.store, grace=grace, complete=unknown)
        cleaning = releases.Cleaning((), {})
        if not as_json:
            for orphan in found:
                console.print(output.safe(str(orphan)), soft_wrap=True)
        if found and not dry_run:
            output.confirm(f"Delete these {len(found)} orphans permanently?", yes)
            cleaning = releases.delete_orphans(
                services, actor=output.actor(reason), grace=grace, complete=unknown
            )
    if as_json:
        output.print_json(
            {
                "orphans": [asdict(orphan) for orphan in found],
                "deleted": [orphan.name for orphan in cleaning.deleted],
                "skipped": cleaning.skipped,
            }
        )
    elif not found:
        console.print("No orphans.")
    elif not dry_run:
        console.print(f"Deleted {len(cleaning.deleted)} of {len(found)} orphans.")
        for name, why in cleaning.skipped.items():
            console.print(f"Skipped {output.safe(name)}: {output.safe(why)}", soft_wrap=True)
