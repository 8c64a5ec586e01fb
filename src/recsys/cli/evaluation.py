"""Commands for data scientists: `evaluate` compares models, `train` trains one."""

from __future__ import annotations

import re
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from recsys import dataset, experiments, releases, reports
from recsys.cli import extras, output
from recsys.cli.defaults import SEED
from recsys.cli.output import JsonOption, console
from recsys.cli.progress import Epoch
from recsys.cli.source import SourceOption, fetch_settings, make_features, s3_of_source, source_of
from recsys.embedded.home import Home
from recsys.errors import ArtifactError
from recsys.experiments import ModelName, Part, SplitName
from recsys.scratch import scratch_folder

if TYPE_CHECKING:
    from recsys.contract import Metrics
    from recsys.experiments import LocalRun

_LOG_LINE: Final = re.compile(r"(?:\S+ )?(?:INFO|WARNING|ERROR) (.+)")
_SHOWN: Final = {
    "rmse": "rmse",
    "mae": "mae",
    "ndcg@10": "ndcg@10",
    "liked_ndcg@10": "liked",
    "recall@10": "r@10",
    "recall@20": "r@20",
    "coverage": "cover",
    "fit_s": "fit s",
}
LIVE: Final = "live"

SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Random seed of the training.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.FIELD=VALUE",
        help="A setting of the trainer, e.g. rating.epochs=12; may be repeated. "
        "trainer/config.py describes all settings.",
    ),
]


OnlyOption = Annotated[
    Part | None,
    typer.Option(
        "--only",
        help="Train and measure this model only; the other one is trained as short as possible.",
    ),
]


def evaluate(
    split: Annotated[SplitName, typer.Option("--split", help="Which ratings are held out.")],
    source: SourceOption = None,
    models: Annotated[
        str,
        typer.Option("--models", help="Models to compare, separated by commas."),
    ] = ",".join(ModelName),
    seed: SeedOption = SEED,
    assignments: SetOption = None,
    only: OnlyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the trainer with baselines on a standard split of a dataset; needs no server.

    random-10: scikit-learn's train_test_split(test_size=0.1, random_state=50) over the rows in
    file order. temporal-10, temporal-20: the last 10 or 20 % of each user's ratings by time
    (rounded up). leave-last-out: each user's last rating. last-visit: each user's
    ratings after the last gap of a day or more, if there are ten earlier ones. cv5: KFold(5,
    shuffle=True, random_state=50), means over the folds.

    Prints one row per model. rmse and mae are in stars. The other metrics rank all movies that the
    user has not rated in training; every held-out movie counts as relevant, in the column liked
    only those with 4 stars or more.
    """
    chosen = _models(models)
    check_assignments(assignments, only)
    with doing("reading the dataset") as say, scratch_folder("evaluate") as folder:
        chosen_source = source_of(source)
        with s3_of_source(chosen_source) as s3:
            fetched = dataset.obtain_dataset(
                chosen_source,
                folder,
                s3=s3,
                progress=lambda done, total: None,
                settings=fetch_settings(chosen_source),
            )
        with dataset.open_dataset(fetched.path) as archive:
            rows, movies = experiments.read_in_file_order(archive)
        result = experiments.compare_models(
            rows,
            movies,
            split,
            chosen,
            seed=seed,
            assignments=assignments or (),
            on_line=say,
            only=only,
        )
    result |= {"dataset_md5": fetched.md5, "only": only}
    if as_json:
        output.print_json(result)
        return
    console.print(
        f"[bold]{split}[/]: {result['holdout_rows']:,} of {result['rows']:,} ratings held out"
        + (f", means over {result['folds']} folds" if result["folds"] > 1 else "")
    )
    _print_models(result["models"])
    if only:
        console.print(f"\ntrainer: only {only} was trained; its other metrics are left out")
    if result["remark"]:
        console.print(f"\n{result['remark']}", style="dim", soft_wrap=True)


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


@contextmanager
def doing(what: str) -> Iterator[Callable[[str], None]]:
    """Shows progress on standard error, without the timestamps of the trainer's log lines."""
    with output.errors.status(what) as status:

        def say(line: str) -> None:
            match = _LOG_LINE.match(line)
            # TensorFlow's startup messages have other formats.
            text = match[1] if match else "" if "absl" in line or "port.cc" in line else line
            if epoch := Epoch.parse(text):
                text = str(epoch)
            if not text or text.startswith(("metrics on the holdout", "exit code 0")):
                return
            status.update(output.safe(text[:76]))
            if not output.errors.is_terminal:
                output.errors.print(f"  {output.safe(text[:200])}", soft_wrap=True)

        if not output.errors.is_terminal:
            output.errors.print(f"  {what}")
        yield say


def check_assignments(assignments: list[str] | None, only: Part | None = None) -> None:
    """Refuses settings that the trainer does not have, before anything is read.

    Args:
        assignments: as given by `--set`.
        only: the part that is trained; a setting of the other part would have no effect.

    Raises:
        BadParameter: one of them is invalid.
    """
    found = experiments.find_trainer().invalid_settings(assignments) if assignments else ""
    if found:
        raise typer.BadParameter(found, param_hint="--set")
    for assignment in assignments or ():
        if only and assignment.startswith(f"{only.other}."):
            raise typer.BadParameter(
                f"{assignment} has no effect with --only {only}", param_hint="--set"
            )


def _models(text: str) -> list[ModelName]:
    chosen = []
    for name in text.split(","):
        try:
            chosen.append(ModelName(name.strip()))
        except ValueError:
            raise typer.BadParameter(
                f"unknown model {name.strip()!r}; models: {', '.join(ModelName)}"
            ) from None
    return list(dict.fromkeys(chosen))


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
    # They import this module.
    from recsys.cli.experiments import describe
    from recsys.cli.release_views import print_decision

    console.print("\nwith its default limits, without what only the pipeline measures:")
    print_decision(run.verdict.model_dump(mode="json"))
    console.print(output.safe(describe(run)))


def _print_models(models: list[dict[str, Any]]) -> None:
    shown = output.table("model", *(f" {head}" for head in _SHOWN.values()))
    for model in models:
        shown.add_row(output.safe(model["name"]), *(_number(model.get(key), key) for key in _SHOWN))
    console.print(shown)


def print_metrics(metrics: Metrics, fit_s: float | None) -> None:
    """Prints model, baselines and champion, with confidence intervals of the differences.

    Args:
        metrics: the metrics of a release or of a local training.
        fit_s: seconds of the fit; None if unknown.
    """
    rows: list[dict[str, Any]] = [
        {"name": "this model", **metrics.model.values(), "fit_s": fit_s},
        *(
            {"name": name, **scores.values()}
            for name, scores in metrics.baselines.by_name().items()
        ),
    ]
    if metrics.champion:
        rows.append({"name": "champion", **metrics.champion.values()})
        rows.append({"name": "  model on same", **metrics.champion.candidate.values()})
    holdout = metrics.holdout
    console.print(f"holdout: {holdout.rows or 0:,} ratings of {holdout.users or 0:,} users")
    _print_models(rows)
    _print_other_holdouts(metrics)
    confidence = metrics.confidence
    if confidence and confidence.level is not None:
        console.print(f"\n{confidence.level:.0%} confidence intervals of differences")
        shown = output.table("difference", " low", " high")
        for name, interval in (confidence.differences or {}).items():
            shown.add_row(
                output.safe(name), *(f"{end:+.4f}" for end in interval or (float("nan"),) * 2)
            )
        console.print(shown)
    for name, reason in (metrics.skipped or {}).items():
        console.print(output.safe(f"{name} was skipped: {reason}"), style="dim")


def _print_other_holdouts(metrics: Metrics) -> None:
    found = {
        "time": metrics.time_holdout,
        "last visit": metrics.last_visit,
    }
    measured = {name: part for name, part in found.items() if part is not None}
    if not measured:
        return
    heads = ("holdout", "ratings", " users", " RMSE", " bias", " NDCG@10", " popularity")
    shown = output.table(*heads)
    for name, part in measured.items():
        size, baselines = part.holdout, part.baselines
        shown.add_row(
            name,
            f"{size.rows or 0:,}",
            f"{size.ranked_users or 0:,} of {size.users or 0:,}",
            *(
                _number(value, "")
                for value in (
                    part.model.rmse,
                    baselines.bias.rmse,
                    part.model.ndcg_10,
                    baselines.popularity.ndcg_10,
                )
            ),
        )
    console.print("\nother holdouts; ranked are the users with ratings in the training part")
    console.print(shown)


def _number(value: float | None, key: str) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if key == "fit_s" else f"{value:.4f}"
