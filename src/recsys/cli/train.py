"""`train`: trains the models of one dataset on this machine, and compares them."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from recsys import dataset, experiments, releases, reports
from recsys.cli import extras, output
from recsys.cli.defaults import SEED
from recsys.cli.experiments import describe
from recsys.cli.metrics_table import print_metrics
from recsys.cli.output import JsonOption, console
from recsys.cli.release_views import print_decision
from recsys.cli.source import SourceOption, make_features, source_of
from recsys.cli.training_options import (
    OnlyOption,
    SeedOption,
    SetOption,
    check_assignments,
    doing,
)
from recsys.embedded.home import Home
from recsys.errors import ArtifactError
from recsys.scratch import scratch_folder

if TYPE_CHECKING:
    from recsys.contract import Metrics
    from recsys.experiments import LocalRun

LIVE: Final = "live"


def train(
    source: SourceOption = None,
    features: Annotated[
        Path | None,
        typer.Option(
            "--features",
            help="Use a folder with interactions.parquet and movies.parquet instead of --source.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Output folder; by default .recsys/training/out."),
    ] = None,
    champion: Annotated[
        str | None,
        typer.Option(
            "--champion",
            help="Compare with a folder written by `recsys train`, a release id, or `live`. "
            "Default: the live release, if the stack is running.",
        ),
    ] = None,
    refit: Annotated[
        bool,
        typer.Option(
            "--refit/--no-refit",
            help="Fit to all ratings too, as the pipeline does for serving.",
        ),
    ] = True,
    seed: SeedOption = SEED,
    assignments: SetOption = None,
    only: OnlyOption = None,
    show: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train on a dataset and compare the model with baselines and the champion; needs no server.

    Code, data and metrics are those of the pipeline: the gate would judge the metrics that are
    printed here. Writes the files of a release, including metrics.json and report.html.
    """
    from recsys.contract import METRICS_FILE

    experiments.find_trainer().check_installed()
    # Of the report, which is written after minutes.
    extras.require("pipeline")
    check_assignments(assignments, only)
    home = Home()
    md5, data = None, features
    with doing("reading the dataset") as say, scratch_folder("train") as folder:
        if features is None:
            features = folder / "features"
            features.mkdir()
            md5 = make_features(source, features)
        experiments.check_features(features)
        compared = _champion(home, champion, folder)
        trained = experiments.train_locally(
            features.resolve(),
            (out or home.folder("training") / "out").resolve(),
            seed=seed,
            assignments=assignments or (),
            champion=compared,
            refit=refit,
            on_line=say,
            only=only,
        )
    metrics = experiments.metrics_of_part(trained.metrics, only) if only else trained.metrics
    if only:
        (trained.folder / METRICS_FILE).write_bytes(metrics.to_json())
    report = _write_report(trained.folder, trained, metrics)
    run = experiments.keep_run(
        home.folder("training") / "runs",
        dataset=dataset.redact_sources(source_of(source)) if data is None else str(data.resolve()),
        dataset_md5=md5,
        settings=tuple(assignments or ()),
        config=trained.lineage.get("config") or {},
        seed=seed,
        champion=compared.name if compared else None,
        fit_s=trained.fit_s,
        metrics=trained.metrics,
        only=only,
    )
    if as_json:
        output.print_json(
            {"out": str(trained.folder), "report": str(report), "fit_s": trained.fit_s}
            | {"metrics": metrics.model_dump(mode="json"), "run": run.run_id}
            | {"verdict": run.verdict.model_dump(mode="json"), "only": only}
        )
    else:
        print_metrics(metrics, trained.fit_s)
        _print_verdict(run)
        console.print(f"\nfiles: {output.safe(str(trained.folder))}", soft_wrap=True)
        console.print(f"report: {output.safe(str(report))}", soft_wrap=True)
    if show:
        webbrowser.open(report.as_uri())


def _champion(home: Home, given: str | None, folder: Path) -> Path | None:
    """Returns the folder of the champion's files; None if none is given and none is live."""
    if given is not None and Path(given).is_dir():
        return Path(given).resolve()
    if given is None and not _stack_is_up(home):
        return None
    with output.services() as services:
        release_id = releases.champion_id(services) if given in (None, LIVE) else given
        if release_id is None:
            return None
        try:
            return releases.fetch_evaluated(services, release_id, folder)
        except ArtifactError as error:
            if given is not None:
                raise
            output.errors.print(
                f"[yellow]notice:[/] not compared with {output.safe(f'{release_id}: {error}')}"
            )
            return None


def _stack_is_up(home: Home) -> bool:
    if output.are_named():
        return True
    try:
        from recsys.embedded.postgres import Postgres
        from recsys.embedded.s3 import S3
    except ModuleNotFoundError:
        return False  # the extra "embedded" is not installed, so nothing of it runs
    return home.path.exists() and all(
        service.status().running for service in (Postgres(home), S3(home))
    )


def _write_report(folder: Path, trained: Any, metrics: Metrics) -> Path:
    from recsys.contract import REPORT_FILE

    path = folder / REPORT_FILE
    html = reports.render_report(
        metrics=metrics,
        history=trained.history,
        lineage=trained.lineage,
        own_charts=reports.own_charts_in(folder),
    )
    path.write_text(html, encoding="utf-8")
    return path


def _print_verdict(run: LocalRun) -> None:
    """Prints what the gate would say, and what was trained."""
    console.print("\nwith its default limits, without what only the pipeline measures:")
    print_decision(run.verdict.model_dump(mode="json"))
    console.print(output.safe(describe(run)))
