"""The command that erases users."""

from __future__ import annotations

import csv
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from recsys import ledger, releases
from recsys.cli import extras, output
from recsys.cli.output import JsonOption, YesOption, console
from recsys.cli.source import SourceOption
from recsys.errors import ConfigurationError
from recsys.signing import find_signing_key

if TYPE_CHECKING:
    from recsys.recommenders import Namespace
    from recsys.services import Services

EXIT_PENDING: Final = 3
EXIT_NOT_PROVEN: Final = 4
_USER_COLUMNS: Final = ("userid", "user_id", "user")


def erase(
    user: Annotated[
        list[int] | None, typer.Option("--user", min=1, help="A user to erase; may be repeated.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            exists=True,
            dir_okay=False,
            help="Users to erase: a CSV with the column userId, or one id on each line.",
        ),
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", help="Reason, without the ids; recorded with the request.")
    ] = "",
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Search everything for erased users; certify if there is no trace."
        ),
    ] = False,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", dir_okay=False, help="Also write the certificate here."),
    ] = None,
    source: SourceOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Erase users: hide them at once, build a release without them, delete what knows them.

    Every build leaves them out from then on. Without users, continues the pending requests. On
    servers of your own, the DAG movie_rec_sys_erase, or the next run of movie_rec_sys, builds the
    release and deletes the others. The exit code is 0 if no trace is left, 1 if --verify finds a
    trace, 3 if something is still to be done, 4 if it is not proven, because something could not be
    decoded.
    """
    if verify:
        with output.services() as services:
            _verify(services, certificate, as_json)
        return
    users = sorted({*(user or ()), *(_read_ids(file) if file else ())})
    if users and not reason:
        raise typer.BadParameter("required with --user and --file", param_hint="--reason")
    with output.services() as services:
        requested = _request(services, users, reason, yes, quiet=as_json) if users else 0
        why = reason or "pending erasures"
        status = _finish(services, why)
        waiting, run = status.pending, None
        if status.champion_knows and not output.are_named():
            run = _build(source, quiet=as_json)
            status = _finish(services, why)
            if not status.pending and not status.completed:
                # The run has done it after its promotion.
                status = replace(status, completed=waiting)
        if as_json:
            output.print_json({"requested": requested, "run": run, **asdict(status)})
        else:
            _print_status(status)
        if status.pending:
            raise typer.Exit(EXIT_PENDING)
        if status.completed:
            if not as_json:
                _print_way_back(services)
            _verify(services, certificate, as_json=False, quiet=as_json)


def _request(services: Services, users: list[int], reason: str, yes: bool, *, quiet: bool) -> int:
    """Records and hides users; returns the number of those whose request is new."""
    output.confirm(f"Erase {len(users)} users? This cannot be undone.", yes)
    with output.errors.status("hiding the users"):
        new = releases.request_erasure(services, users, actor=output.actor(reason))
    if not quiet:
        known = len(users) - len(new)
        more = f"; {known} are being erased already" if known else ""
        console.print(f"Recorded and hidden from readers: {len(new)} users{more}.")
    return len(new)


def _read_ids(path: Path) -> list[int]:
    """Reads ids from a CSV with the column userId, or from lines of one id each."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = [row for row in csv.reader(lines) if row]
    names = [name.strip().casefold() for name in rows[0]] if rows else []
    column = next((names.index(name) for name in _USER_COLUMNS if name in names), None)
    texts = [row[column or 0].strip() for row in rows[column is not None :]]
    wrong = next((text for text in texts if not (text.isascii() and text.isdigit())), None)
    if wrong is not None or not texts:
        raise ConfigurationError(
            f"{path} is not a list of users",
            found=repr(wrong[:40]) if wrong is not None else "no id",
            expected="a CSV with the column userId, or one id on each line",
        )
    return [int(text) for text in texts]


def _finish(services: Services, reason: str) -> releases.ErasureStatus:
    with output.errors.status("searching and deleting"):
        return releases.finish_erasures(services, actor=output.actor(reason))


def _build(source: str | None, *, quiet: bool) -> str:
    """Runs the pipeline; returns the state of the run."""
    from recsys.cli import runs

    extras.require("embedded", "airflow", "pipeline")
    if not quiet:
        console.print("The live release knows them: building one without them.")
    return runs.run_for_erasure(source, quiet=quiet)


def _print_status(status: releases.ErasureStatus) -> None:
    if status.retired:
        console.print(f"Deleted {len(status.retired)} releases: {', '.join(status.retired)}.")
    for release_id, why in status.skipped:
        console.print(f"Not deleted: {release_id}: {output.safe(why)}")
    for name in status.traces:
        console.print(f"Still names an erased user: {output.safe(name)}")
    if status.champion_knows:
        console.print(
            "The live release still knows them, and readers do not see them. Run the DAG "
            f"{_names().erase_dag}, or wait for the next run, which builds a release without them. "
            "`recsys why` shows the decision of the gate."
        )
    elif status.pending:
        console.print(f"{status.pending} requests are pending: run `recsys erase` again.")
    elif status.completed:
        console.print(f"Erased {status.completed} users.")
    else:
        console.print("No request is pending.")


def _names() -> Namespace:
    from recsys import recommenders

    return recommenders.Namespace(recommenders.chosen_recommender())


def _print_way_back(services: Services) -> None:
    """Says how to get a release to roll back to, if there is none."""
    from recsys.contract import BuildSettings

    with services.connect() as conn:
        champion, target = ledger.champion(conn), ledger.rollback_target(conn)
    if champion is None or target is not None:
        return
    seed = BuildSettings.model_validate(champion.build["settings"]).trainer.seed
    command = (
        f"trigger the DAG {_names().weekly_dag} with the Param seed {seed + 1}"
        if output.are_named()
        else f"`{output.command()} run --seed {seed + 1}`"
    )
    console.print(
        "There is no release to roll back to until the next promotion, because every earlier one "
        f"knew the users. To have one now: {output.safe(command)}."
    )


def _verify(
    services: Services, certificate: Path | None, as_json: bool, quiet: bool = False
) -> None:
    with output.errors.status("reading every object and table"):
        search = releases.search_everything(services)
    made = None
    if search.digest and not search.traces and not search.pending:
        made = releases.certify(services, search, find_signing_key(os.environ))
        if certificate:
            certificate.write_bytes(made)
    if as_json:
        output.print_json(releases.describe_search(services, search))
    elif not quiet:
        _print_search(search)
        if made is not None:
            signed = b"dsseEnvelope" in made
            console.print(
                "The certificate is stored below erasures/ in the bucket"
                + ("." if signed else ", without a signature: there is no signing key.")
            )
    if search.traces:
        raise typer.Exit(output.EXIT_FAILED)
    if search.pending:
        raise typer.Exit(EXIT_PENDING)
    if search.undecoded:
        raise typer.Exit(EXIT_NOT_PROVEN)


def _print_search(search: releases.Search) -> None:
    objects = [each for each in search.searched if each.kind == "object"]
    size = sum(each.size for each in objects)
    console.print(
        f"Searched {len(objects)} objects ({size:,} bytes) and "
        f"{len(search.searched) - len(objects)} tables of {len(search.releases)} releases for "
        f"{search.users} erased users."
    )
    for each in search.undecoded:
        console.print(
            f"[yellow]not decoded:[/] {output.safe(each.name)}: {output.safe(each.problem or '')}. "
            f"What to do: {output.safe(releases.what_to_do(each))}."
        )
    for each in search.traces:
        console.print(f"[red]names {len(each.found)} of them:[/] {output.safe(each.name)}")
    if search.result == releases.SearchResult.NOT_PROVEN:
        console.print(
            f"[yellow]Not proven:[/] {len(search.undecoded)} objects could not be decoded. The "
            "others name none of them."
        )
    elif search.result == releases.SearchResult.NO_TRACE:
        console.print("[green]No trace[/] of them was found.")
    if search.pending:
        console.print(f"{search.pending} requests are pending: run `recsys erase`.")
    console.print("Out of reach from here:")
    for what, todo in releases.OUT_OF_REACH:
        console.print(f"  {what}: {todo}")
