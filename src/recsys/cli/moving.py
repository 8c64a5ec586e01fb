"""The commands `export` and `import`, which move a recommender to other servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys import moving
from recsys.cli import extras, output
from recsys.cli.output import JsonOption, console

if TYPE_CHECKING:
    from recsys.dataset import Progress
    from recsys.moving import ExportIndex


def export(
    folder: Annotated[Path, typer.Argument(file_okay=False, help="A new folder for the export.")],
    as_json: JsonOption = False,
) -> None:
    """Write ledger, vectors and objects to a folder, for moving to other servers.

    Nothing is changed. Promotions, rollbacks and retirements wait until the export has ended. The
    folder has checksums of everything in it, and export.json is written last: without it, the
    export is not complete. Only you may read the folder; it holds what the servers know of users.
    """
    extras.require("pipeline")
    with output.services() as services, shown("exporting", quiet=as_json) as progress:
        index = moving.export_recommender(services, folder, progress)
    _print(index, folder, "exported", as_json)


def import_export(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", file_okay=False, help="What `recsys export` wrote."),
    ],
    reason: Annotated[
        str, typer.Option("--reason", help="Reason; recorded in the ledger's history.")
    ] = "moved to other servers",
    as_json: JsonOption = False,
) -> None:
    """Make an exported recommender in an empty database and bucket, and serve it.

    Every file is compared with its checksum before anything is written, and every retained release
    is read and checked afterwards. An interrupted import goes on when it is repeated.
    """
    from recsys import monitoring

    extras.require("pipeline")
    with output.services() as services:
        with shown("importing", quiet=as_json) as progress:
            index = moving.import_recommender(
                services, folder, actor=output.actor(reason), progress=progress
            )
        with output.errors.status("checking every retained release"):
            problems = monitoring.problems(services, thorough=True)
    _print(index, folder, "imported", as_json, problems)
    if problems:
        raise typer.Exit(1)


@contextmanager
def shown(what: str, *, quiet: bool) -> Iterator[Progress]:
    """Shows the bytes that are done, where somebody looks."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(
        *columns,
        console=output.errors,
        disable=quiet or not output.errors.is_terminal,
        transient=True,
    ) as bars:
        bar = bars.add_task(what, total=None)

        def on_bytes(done: int, total: int | None) -> None:
            bars.update(bar, completed=done, total=total)

        yield on_bytes


def _print(
    index: ExportIndex,
    folder: Path,
    verb: str,
    as_json: bool,
    problems: list[str] | None = None,
) -> None:
    found: dict[str, Any] = {
        "folder": str(folder),
        "ledger_id": index.ledger_id,
        "champion": index.champion,
        "releases": index.releases,
        "tables": len(index.tables),
        "objects": len(index.objects),
        "bytes": index.size,
    }
    if problems is not None:
        found["problems"] = problems
    if as_json:
        output.print_json(found)
        return
    console.print(
        f"{verb} to {output.safe(str(folder))}"
        if problems is None
        else f"{verb} from {output.safe(str(folder))}",
        soft_wrap=True,
    )
    console.print(
        f"releases {index.releases}, tables {len(index.tables)}, objects {len(index.objects):,}, "
        f"{index.size / 1e6:,.1f} MB; champion {index.champion or 'none'}"
    )
    for problem in problems or ():
        console.print(f"[red]✗[/] {output.safe(problem)}")
    if problems == []:
        console.print("[green]✓[/] every retained release was read and is as the ledger says")
