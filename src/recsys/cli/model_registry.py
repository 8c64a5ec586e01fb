"""The command that exports releases to MLflow."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys import releases
from recsys.cli import output
from recsys.cli.output import JsonOption, console


def export_to_mlflow(
    tracking_uri: Annotated[
        str,
        typer.Option(
            "--tracking-uri",
            envvar="MLFLOW_TRACKING_URI",
            help="Address of MLflow's server, or of its database: sqlite:///mlflow.db.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option("--model", help="Name of the registered model, and of the runs' experiment."),
    ] = "recsys",
    as_json: JsonOption = False,
) -> None:
    """Export releases to the model registry of MLflow; nothing is read back from it.

    Each complete release becomes a version with metrics, params, and the S3 addresses of its files
    as tags. The alias champion follows the ledger. The command can be repeated: what is there
    already is not made again.
    """
    if not model or "'" in model:
        raise typer.BadParameter("a name without quotes is needed", param_hint="--model")
    with output.services() as services, output.errors.status("exporting to MLflow"):
        done = releases.export_to_mlflow(services, tracking_uri, model)
    if as_json:
        output.print_json(done.model_dump(mode="json"))
        return
    console.print(
        f"{len(done.created)} versions created, {len(done.updated)} updated, "
        f"{done.unchanged} unchanged in {output.safe(done.model)}; "
        f"alias champion: {done.champion or 'none'}"
    )
    for release_id in done.damaged:
        output.errors.print(f"[yellow]notice:[/] {release_id} was skipped: its manifest is damaged")
