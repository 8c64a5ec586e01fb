"""Commands about the embedded stack: start, stop, environment variables, checks."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer

from recsys import embedded, monitoring
from recsys.cli import connections, extras, output
from recsys.cli.output import JsonOption, console
from recsys.cli.site import no_site
from recsys.cli.source import SourceOption, choose_source, source_connection
from recsys.embedded.home import Home
from recsys.errors import ServiceUnavailableError

# The page behind Airflow's menu entry Browse, Recommender releases.
_RELEASES_PAGE: Final = "/plugin/recommender-releases"


def up(
    data_only: Annotated[
        bool, typer.Option("--data-only", help="Start only PostgreSQL and S3.")
    ] = False,
    source: SourceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start PostgreSQL, S3, Airflow and the site, and leave them running.

    Returns when all of them answer, and prints their addresses. Airflow runs the pipeline every
    week and whenever the dataset changes. `recsys env` prints the variables for psql, boto3 and
    others; `recsys down` stops everything.
    """
    extras.require("embedded", *([] if data_only else ["airflow", "pipeline"]))
    home = Home()
    connection = {} if data_only else source_connection(choose_source(home, source))
    found: dict[str, Any] = {"home": str(home.path)}
    with embedded.stack.starting(home):
        with console.status("starting PostgreSQL and S3"):
            data = embedded.stack.start_data_services(home)
        found |= {"postgres": data.postgres, "s3": data.s3}
        if not data_only:
            with console.status("starting Airflow (about a minute)"):
                web = embedded.airflow.start(home, environment=connection)
            found["airflow"] = {
                "url": web.url,
                "username": web.username,
                "password": web.password,
                "releases": web.url.rstrip("/") + _RELEASES_PAGE,
            }
            with console.status("starting the site"):
                found["site"] = embedded.site.start(home)
    if as_json:
        output.print_json(found)
        return
    shown = output.table("", "")
    shown.add_row("PostgreSQL", data.postgres)
    shown.add_row("S3", data.s3)
    if not data_only:
        shown.add_row("Airflow", f"[bold]{web.url}[/]")
        shown.add_row("log in as", f"{web.username} / {web.password}")
        shown.add_row("releases", f"[bold]{web.url.rstrip('/')}{_RELEASES_PAGE}[/]")
        shown.add_row("site", f"[bold]{found['site']}[/]" if found["site"] else no_site())
    console.print(shown, soft_wrap=True)
    name = output.safe(output.command())
    console.print(f'\nFor clients: eval "$({name} env)"    Stop it: {name} down', soft_wrap=True)


def down(as_json: JsonOption = False) -> None:
    """Stop everything that `recsys up` started; the data is kept."""
    home = Home()
    with console.status("stopping"):
        embedded.stack.stop(home)
    if as_json:
        output.print_json(
            {"home": str(home.path), "services": [asdict(s) for s in embedded.stack.status(home)]}
        )
        return
    console.print("Stopped. The data is kept; `recsys up` starts everything again.")


def env(as_json: JsonOption = False) -> None:
    """Print the variables with which psql, boto3 and others reach the stack; contains secrets.

    Exit code 75: PostgreSQL or S3 is not running, so the addresses lead nowhere; none is printed.
    """
    home = Home()
    stopped = [
        name for name, running in embedded.stack.data_services_running(home).items() if not running
    ]
    if stopped:
        raise ServiceUnavailableError(
            f"the stack in {home.path} is not running",
            found=f"{' and '.join(stopped)} stopped",
            hint=f"start them: `{output.command()} up --data-only`, or `{output.command()} up`",
        )
    variables = embedded.stack.environment(home)
    if as_json:
        output.print_json(variables)
        return
    for name, value in variables.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def doctor(
    thorough: Annotated[
        bool,
        typer.Option(
            "--all", help="Read every retained release completely, as after moving to new servers."
        ),
    ] = False,
    only_connections: Annotated[
        bool,
        typer.Option(
            "--connections",
            help="Only use each connection: write, read and delete an object, query vectors.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check servers, ledger, champion and public copies; changes nothing.

    The champion and the releases that a rollback leads to are read completely. Of the others, files
    are compared by size, and tables by their number of rows.

    Prints each problem and what to do about it, and what was not checked because it is stopped.
    Also warns of settings that leave out a protection; run it where the DAGs run, so that it has
    their environment. Exit code 0: no problem, at most warnings; 1: at least one problem.

    With --connections, names each connection, what was tried and what failed. In a container of
    Airflow these are Airflow's Connections, with the dataset's source and the alerts' channels.
    """
    if only_connections:
        connections.check_all(as_json)
        return
    services = [] if output.are_named() else embedded.stack.status(Home())
    unchecked = _unchecked(services)
    warnings = monitoring.warnings(os.environ)
    with output.services() as reached, output.errors.status("checking every retained release"):
        problems = monitoring.problems(reached, thorough=thorough)
    if as_json:
        output.print_json(
            {"services": [asdict(s) for s in services], "problems": problems}
            | {"warnings": warnings, "not_checked": unchecked}
        )
    else:
        if services:
            shown = output.table("service", "", "address", "")
            for service in services:
                state = "[green]running[/]" if service.running else "stopped"
                shown.add_row(service.name, state, service.address, output.safe(service.detail))
            console.print(shown)
        for problem in problems:
            console.print(f"[red]✗[/] {output.safe(problem)}")
        for warning in warnings:
            console.print(f"[yellow]![/] {output.safe(warning)}")
        for reason in unchecked:
            console.print(f"[yellow]![/] not checked: {output.safe(reason)}")
        if not problems:
            what = " in what was checked" if unchecked else ""
            console.print(f"[green]✓[/] no problems found{what}")
    if problems:
        raise typer.Exit(output.EXIT_FAILED)


def _unchecked(services: list[embedded.processes.ServiceStatus]) -> list[str]:
    """Returns which parts of the stack a check says nothing about."""
    if not services:
        return ["Airflow and the site: variables name servers outside of the embedded stack"]
    stopped = [service.name for service in services if not service.running]
    found = [
        f"{name}: it is stopped, `{output.command()} up` starts it"
        for name in stopped
        if name not in ("postgres", "s3")
    ]
    started = [name for name in stopped if name in ("postgres", "s3")]
    if started:
        found.append(f"whether {' and '.join(started)} keep running: started for this check only")
    return found
