"""Commands about the embedded stack: start, stop, environment variables, checks."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict
from typing import Annotated, Final

import typer

from recsys import monitoring
from recsys.cli import output
from recsys.cli.output import JsonOption, console
from recsys.cli.source import SourceOption, choose_source, source_connection
from recsys.embedded import airflow, site, stack
from recsys.embedded.home import Home

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
    home = Home()
    connection = {} if data_only else source_connection(choose_source(home, source))
    with console.status("starting PostgreSQL and S3"):
        data = stack.start_data_services(home)
    found: dict[str, object] = {"home": str(home.path), "postgres": data.postgres, "s3": data.s3}
    if not data_only:
        with console.status("starting Airflow (about a minute)"):
            web = airflow.start(home, environment=connection)
        found["airflow"] = {
            "url": web.url,
            "username": web.username,
            "password": web.password,
            "releases": web.url.rstrip("/") + _RELEASES_PAGE,
        }
        with console.status("starting the site"):
            found["site"] = site.start(home)
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
        shown.add_row("site", f"[bold]{found['site'] or 'not set up: make setup'}[/]")
    console.print(shown)
    console.print('\nFor clients: eval "$(recsys env)"    Stop it: recsys down')


def down(as_json: JsonOption = False) -> None:
    """Stop everything that `recsys up` started; the data is kept."""
    home = Home()
    with console.status("stopping"):
        stack.stop(home)
    if as_json:
        output.print_json(
            {"home": str(home.path), "services": [asdict(s) for s in stack.status(home)]}
        )
        return
    console.print("Stopped. The data is kept; `recsys up` starts everything again.")


def env(as_json: JsonOption = False) -> None:
    """Print the variables with which psql, boto3 and others reach the stack; contains secrets."""
    variables = stack.environment(Home())
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
    as_json: JsonOption = False,
) -> None:
    """Check servers, ledger, champion and public copies; changes nothing.

    The champion and the releases that a rollback leads to are read completely. Of the others, files
    are compared by size, and tables by their number of rows.

    Prints each problem and what to do about it. Exit code 0: no problem; 1: at least one.
    """
    services = [] if os.environ.get("RECSYS_PG_DSN") else stack.status(Home())
    with output.services() as reached, output.errors.status("checking every retained release"):
        problems = monitoring.problems(reached, thorough=thorough)
    if as_json:
        output.print_json({"services": [asdict(s) for s in services], "problems": problems})
    else:
        if services:
            shown = output.table("service", "", "address", "")
            for service in services:
                state = "[green]running[/]" if service.running else "stopped"
                shown.add_row(service.name, state, service.address, service.detail)
            console.print(shown)
        for problem in problems:
            console.print(f"[red]✗[/] {output.safe(problem)}")
        if not problems:
            console.print("[green]✓[/] no problems found")
    if problems:
        raise typer.Exit(output.EXIT_FAILED)
