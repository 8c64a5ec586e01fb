"""The command that lists, checks, adds and removes recommenders."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys import embedded, recommenders
from recsys.cli import output, recommender_grants, recommender_roles
from recsys.cli.output import JsonOption, YesOption, console
from recsys.cli.site import served_by_described
from recsys.cli.source import absolute_source
from recsys.embedded.home import Home
from recsys.errors import ConfigurationError

if TYPE_CHECKING:
    from recsys.recommenders import Description
    from recsys.services import Services


class Action(StrEnum):
    """What to do with recommenders."""

    LIST = "list"
    CHECK = "check"
    ADD = "add"
    GRANTS = "grants"
    ROLES = "roles"
    REMOVE = "remove"


def recommender(
    action: Annotated[
        Action,
        typer.Argument(
            help="list, check [NAME], add NAME, grants NAME, roles [NAME], or remove NAME."
        ),
    ],
    name: Annotated[str, typer.Argument(help="Name of the recommender.")] = "",
    source: Annotated[
        str, typer.Option("--source", "-s", help="With add: the dataset of a new recommender.")
    ] = "",
    title: Annotated[
        str, typer.Option("--title", help="With add: its name for people; by default NAME.")
    ] = "",
    only: Annotated[
        recommender_grants.Part | None,
        typer.Option(
            "--only",
            help="With grants: print one part only, for example to `kubectl apply -f -`.",
        ),
    ] = None,
    even_served: Annotated[
        bool, typer.Option("--even-served", help="With remove: also if it serves a release.")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export",
            file_okay=False,
            help="With remove: the new folder to which it is exported first, for `recsys import`; "
            "by default NAME-export.",
        ),
    ] = None,
    no_export: Annotated[
        bool, typer.Option("--no-export", help="With remove: nothing of it is kept.")
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """List, check, add or remove recommenders, each described by one file.

    `add` writes the file, unless it exists, and makes the database and the role of its readers.
    `check` names the file, line and field of each invalid description, and what is missing in
    PostgreSQL. `grants` prints what an administrator runs: commands for Airflow's roles, SQL where
    the account may not make databases, a policy for an S3 account, and the objects in Kubernetes.
    `roles`, in a container of Airflow, gives the Airflow roles of each description their rights.
    `remove` exports the recommender, then drops its DAGs, database, role and objects, and nothing
    else.
    """
    if not name and action not in (Action.LIST, Action.CHECK, Action.ROLES):
        raise typer.BadParameter(f"recsys recommender {action} needs a name")
    match action:
        case Action.LIST:
            _list(as_json)
        case Action.CHECK:
            _check(name)
        case Action.ADD:
            _add(name, source, title)
        case Action.GRANTS:
            recommender_grants.print_grants(output.description(name), only)
        case Action.ROLES:
            recommender_roles.apply(name)
        case Action.REMOVE:
            folder = None if no_export else export or Path(f"{name}-export")
            _remove(name, even_served, folder, yes)


def _list(as_json: bool) -> None:
    found = recommenders.read_descriptions(output.descriptions_folder())
    rows = [
        {
            "name": one.name,
            "title": one.title,
            "database": one.namespace.database,
            "key_prefix": one.namespace.key_prefix,
            "site_role": one.namespace.site_role,
            "dags": list(one.namespace.dag_ids),
        }
        for one in found.valid.values()
    ]
    if as_json:
        output.print_json(
            {
                "recommenders": rows,
                "errors": {str(file): str(error) for file, error in found.errors.items()},
            }
        )
        return
    table = output.table("name", "title", "database", "prefix of keys", "role of readers")
    for row in rows:
        table.add_row(
            output.safe(str(row["name"])),
            output.safe(str(row["title"])),
            str(row["database"] or "the connection's"),
            str(row["key_prefix"] or "the connection's"),
            str(row["site_role"]),
        )
    console.print(table)
    for error in found.errors.values():
        output.print_error(error)


def _check(name: str) -> None:
    found = recommenders.read_descriptions(output.descriptions_folder())
    chosen = [output.description(name)] if name else list(found.valid.values())
    errors = [] if name else list(found.errors.values())
    for error in errors:
        output.print_error(error)
    failed = bool(errors)
    with output.shared_services() as shared:
        for one in chosen:
            missing = recommenders.problems(one, shared)
            missing += recommender_roles.problems(one)
            failed = failed or bool(missing)
            console.print(f"{one.name}: {output.safe('; '.join(missing)) or 'in order'}")
    if failed:
        raise typer.Exit(output.EXIT_FAILED)


def _add(name: str, source: str, title: str) -> None:
    folder = output.descriptions_folder()
    file = folder / f"{name}.yaml"
    if file.with_name(file.name + recommenders.REMOVING).exists():
        raise ConfigurationError(
            f"{name} is being removed",
            found=f"{file.name}{recommenders.REMOVING}",
            hint=f"finish it: recsys recommender remove {name}",
        )
    if not file.exists():
        if not source:
            raise ConfigurationError(
                f"{name} has no description yet",
                expected=f"{file}, or a dataset to describe it with",
                hint=f"recsys recommender add {name} --source URL-OR-PATH",
            )
        text = recommenders.template(name, title or name, absolute_source(source))
        # First beside it: a file that is half written would be an import error in Airflow.
        beside = file.with_name(f".{file.name}.{os.getpid()}")
        folder.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        beside.rename(file)
        console.print(f"wrote {output.safe(str(file))}", soft_wrap=True)
    one = output.description(name)
    if one.namespace.is_first:
        return
    with output.shared_services() as shared:
        for made in recommenders.provision(one, shared):
            console.print(f"made {made}")
    console.print(f"{name} is in order; run it: {output.command()} -r {name} run")


def _export(one: Description, shared: Services, folder: Path) -> None:
    """Exports a recommender that is about to be removed."""
    from recsys import moving
    from recsys.cli.moving import shown

    with shown("exporting", quiet=False) as progress:
        moving.export_recommender(recommenders.services_of(one, shared), folder, progress)
    console.print(f"exported to {output.safe(str(folder))}", soft_wrap=True)


def _remove(name: str, even_served: bool, export: Path | None, yes: bool) -> None:
    folder = output.descriptions_folder()
    file = folder / f"{name}.yaml"
    half_removed = file.with_name(file.name + recommenders.REMOVING)
    if half_removed.exists():
        file = half_removed
    one = recommenders.read_description(file)
    output.confirm(
        f"Remove {one.name}: drop its DAGs, its database {one.namespace.database}, the role "
        f"{one.namespace.site_role}, and all objects below {one.namespace.key_prefix}?",
        yes,
    )
    with output.shared_services() as shared:
        if file is not half_removed:
            has_ledger = recommenders.check_removable(one, shared, even_served=even_served)
            if has_ledger and export is not None:
                _export(one, shared, export)
        if not output.are_named():
            embedded.site.remove(Home(), served_by_described(one))
        forget = _forget()
        steps = recommenders.remove(one, file, shared, even_served=even_served, forget=forget)
        for number, gone in enumerate(steps):
            console.print(f"removed {output.safe(gone)}")
            # It may be removed, and its file is there still, so that this is repeated after a kill.
            if number == 0:
                recommender_roles.take_away(one)
    if forget is None:
        console.print(
            "Airflow keeps the history of its runs; `airflow dags delete DAG` removes it, for DAG "
            "in: " + " ".join(one.namespace.dag_ids)
        )


def _forget() -> Callable[[Sequence[str]], int] | None:
    """Returns what deletes the history of DAGs; None where Airflow's database is out of reach."""
    if not output.are_named():
        return partial(embedded.airflow.forget_dags, Home())
    if os.environ.get("RECSYS_SERVICES", "").startswith("recsys_dag."):
        found: Callable[[Sequence[str]], int] = pkgutil.resolve_name("recsys_dag.history:forget")
        return found
    return None
