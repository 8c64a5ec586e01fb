"""The command `validate`, about a local dataset without a server; quarantine and drift shown."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys import dataset, features, monitoring
from recsys.cli import output
from recsys.cli.output import JsonOption, console
from recsys.cli.source import feature_settings
from recsys.errors import DatasetError
from recsys.scratch import scratch_folder

if TYPE_CHECKING:
    import polars as pl

    from recsys.contract import FeatureSettings
    from recsys.features import FileStats, Quarantine, Stats

_EXAMPLES = 3

ZipArgument = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="A zip in MovieLens format.")
]


def validate(
    path: ZipArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Write interactions, movies, quarantine (parquet) and stats.json into this "
            "folder: what the trainer's local command reads.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Validate a dataset: rows per rule, examples of invalid rows, and a summary.

    Reads the zip with the rules of the pipeline, without a server, and always to its end. If PATH
    has an md5 file, PATH.md5, the zip must have that md5; a run needs this file. Settings are those
    of the recommender (`recsys -r NAME validate`), else of RECSYS_BUILD_SETTINGS.

    Exit code 0: the pipeline would accept the dataset; 1: it would reject it, for the reason shown.
    """
    settings = feature_settings()
    if out:
        out.mkdir(parents=True, exist_ok=True)
    with scratch_folder("validate") as scratch:
        found = _inspect(path, settings, out or scratch, scratch)
    if as_json:
        document = {
            "accepted": found.refusal is None,
            "reason": str(found.refusal) if found.refusal else None,
            "md5_file": found.md5_file,
            "layout": _layout_of(path, settings),
            "files": monitoring.summarize_files(found.files),
            "examples": found.examples,
        }
        if found.stats:
            document |= monitoring.summarize_stats(found.stats)
            document["profile"] = found.stats.profile.model_dump(mode="json")
        output.print_json(document)
    else:
        if found.stats:
            _print_summary(found.stats, _layout_of(path, settings))
        if found.files:
            _print_files(found.files, settings)
        _print_examples(found.examples)
        if out:
            console.print(f"\nwritten to {output.safe(str(out))}", soft_wrap=True)
        console.print()
        if found.md5_file == "missing":
            shown = output.safe(shlex.quote(path.name))
            output.errors.print(
                f"[yellow]notice:[/] a run needs the md5 file, which is missing. Write it beside "
                f"the zip:\n  md5sum {shown} > {shown}.md5",
                soft_wrap=True,
            )
        if found.refusal is None:
            console.print("[bold green]accepted[/]: the share of invalid rows is within the limits")
        else:
            output.print_error(found.refusal)
    if found.refusal is not None:
        raise typer.Exit(output.EXIT_FAILED)


@dataclass(frozen=True)
class _Inspected:
    """What `validate` found.

    Attributes:
        stats: None if the features could not be made.
        files: counts of the files that were read.
        examples: first rejected rows of each rule.
        refusal: the error of a run; None if it would accept the dataset.
        md5_file: ``matches``, ``differs``, ``invalid`` or ``missing``.
    """

    stats: Stats | None
    files: dict[str, FileStats]
    examples: list[dict[str, Any]]
    refusal: DatasetError | None
    md5_file: str


def _check_md5(path: Path) -> tuple[str, DatasetError | None]:
    """Compares a zip with its md5 file, as a run does."""
    if not path.with_name(path.name + ".md5").exists():
        return "missing", None
    try:
        published = dataset.read_source_md5(str(path.resolve()))
    except DatasetError as error:
        return "invalid", error
    found = _md5(path)
    if found == published:
        return "matches", None
    return "differs", DatasetError(
        f"{path.name} does not have the md5 of {path.name}.md5",
        found=found,
        expected=published,
        hint="copy the zip again, or write its md5 file again if the zip is right",
    )


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _inspect(path: Path, settings: FeatureSettings, folder: Path, scratch: Path) -> _Inspected:
    from recsys.contract import INTERACTIONS_FILE, QUARANTINE_FILE, STATS_FILE, RuleShares

    # No share is too large here, so that all invalid rows are read and reported.
    without_limits = settings.model_copy(
        update={
            "max_quarantine_share": 1.0,
            "max_rule_shares": RuleShares(**dict.fromkeys(RuleShares.model_fields, 1.0)),
        }
    )
    rejected = scratch / "rejected"
    rejected.mkdir()
    quarantine = features.Quarantine(rejected, (dataset.RATINGS_CSV, dataset.MOVIES_CSV))
    stats, failure = None, None
    try:
        stats = _make(path, without_limits, folder, quarantine)
    except DatasetError as error:
        failure = error
        quarantine.write(folder / QUARANTINE_FILE)
    else:
        stats = stats.model_copy(update={"settings": settings})
        (folder / STATS_FILE).write_bytes(stats.to_json())
    refusal = _refusal(quarantine, settings, failure)
    if refusal is None:
        refusal = _error_of(features.check_trainable, folder / INTERACTIONS_FILE)
    md5_file, differs = _check_md5(path)
    return _Inspected(
        stats,
        {
            file: quarantine.stats(file)
            for file in (dataset.RATINGS_CSV, dataset.MOVIES_CSV)
            if quarantine.was_read(file)
        },
        _examples(folder / QUARANTINE_FILE),
        differs or refusal,
        md5_file,
    )


def _refusal(
    quarantine: Quarantine, settings: FeatureSettings, failure: DatasetError | None
) -> DatasetError | None:
    """Returns the error of a run, which checks movies first, and each file's rows before it ends.

    Args:
        quarantine: the rejected rows, read without limits.
        settings: the limits.
        failure: what ended the reading, if anything did.
    """
    if failure is not None and not isinstance(failure, features.NoValidRowsError):
        return failure
    for file in (dataset.MOVIES_CSV, dataset.RATINGS_CSV):
        if quarantine.was_read(file):
            error = _error_of(quarantine.check, file, settings)
            if error is not None:
                return error
    return failure


def _error_of(check: Callable[..., None], *arguments: Any) -> DatasetError | None:
    try:
        check(*arguments)
    except DatasetError as error:
        return error
    return None


def print_data(report: dict[str, Any]) -> None:
    """Prints quarantine and drift of a dataset, as `monitoring.summarize_stats` returns them."""
    for file, found in sorted(report["files"].items(), reverse=True):
        rules = ", ".join(
            f"{rule} {rows['rows']:,} ({rows['share']:.2%})"
            for rule, rows in found["quarantine"].items()
        )
        kept = f"{found['rows']:,} rows, {found['quarantined']:,} in quarantine"
        console.print(output.safe(f"{file}: {kept}{': ' + rules if rules else ''}"))
    drift = report.get("drift")
    if drift is None:
        console.print("drift: nothing to compare with (first release, or the same dataset)")
        return
    limits = {breach["measure"]: breach for breach in drift["breaches"]}
    shown = output.table("drift from the champion's", " value", " limit", "")
    for measure, value in drift["measures"].items():
        breach = limits.get(measure)
        mark = "[green]✓[/]"
        if breach:
            mark = "[red]✗[/]" if breach["hard"] else "[yellow]![/]"
        shown.add_row(
            output.safe(measure), f"{value:.3f}", f"{breach['limit']:.3g}" if breach else "", mark
        )
    console.print(shown)


def _layout_of(path: Path, settings: FeatureSettings) -> str:
    """Returns as what layout a zip is read; empty if it is none."""
    try:
        with dataset.open_dataset(path, columns=settings.columns) as archive:
            return archive.layout.name
    except DatasetError:
        return ""


def _make(path: Path, settings: FeatureSettings, folder: Path, quarantine: Quarantine) -> Stats:
    md5 = _md5(path)
    with (
        _progress(f"validating {path.name}") as progress,
        dataset.open_dataset(path, columns=settings.columns) as archive,
    ):
        return features.make_features(archive, md5, settings, folder, progress, quarantine)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int | None], None]]:
    with output.errors.status(output.safe(what)) as status:

        def update(done: int, total: int | None) -> None:
            share = f"{100 * done // total} %" if total else f"{done >> 20} MiB"
            status.update(f"{output.safe(what)}: {share} read")

        yield update


def _examples(quarantine: Path) -> list[dict[str, Any]]:
    """Returns the first rows of each rule."""
    import polars as pl

    rows: pl.DataFrame = (
        pl.scan_parquet(quarantine)
        .group_by("file", "rule", maintain_order=True)
        .head(_EXAMPLES)
        .collect()
    )
    return rows.select("file", "rule", "line", "text").to_dicts()


def _print_summary(stats: Stats, layout: str) -> None:
    first, last = (
        datetime.fromtimestamp(t, UTC) for t in (stats.first_timestamp, stats.last_timestamp)
    )
    console.print(
        f"{layout}: {stats.interactions:,} interactions of {stats.users:,} users with "
        f"{stats.rated_movies:,} of {stats.movies:,} movies, {first:%Y-%m-%d} to {last:%Y-%m-%d}, "
        f"mean {stats.mean_rating:.2f} "
        + ("stars" if stats.settings.scale.is_stars else f"of {stats.settings.scale.max:g}")
    )


def _print_files(files: Mapping[str, FileStats], settings: FeatureSettings) -> None:
    shown = output.table("file", "rule", " rows", " share", " limit")
    limits = settings.max_rule_shares.model_dump()
    for file, found in files.items():
        shown.add_row(file, "(all read)", f"{found.rows:,}", "", "")
        for rule, count in found.quarantine.items():
            share = found.share(count)
            colour = "red" if share > limits[rule] else "default"
            shown.add_row(
                "", rule, f"{count:,}", f"[{colour}]{share:.3%}[/]", f"{limits[rule]:.1%}"
            )
        shown.add_row(
            *("", "all invalid", f"{found.invalid:,}", f"{found.invalid_share:.3%}"),
            f"{settings.max_quarantine_share:.1%}",
        )
    console.print(shown)


def _print_examples(examples: list[dict[str, Any]]) -> None:
    if not examples:
        return
    shown = output.table("rule", " line", "first rows in quarantine")
    for row in examples:
        shown.add_row(row["rule"], f"{row['line']:,}", output.safe(row["text"][:44]))
    console.print(shown)
