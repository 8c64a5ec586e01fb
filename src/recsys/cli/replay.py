"""The command `replay`: quarantined rows are validated again after a fix, without a server."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys import dataset, features
from recsys.cli import output
from recsys.cli.data import ZipArgument
from recsys.cli.output import JsonOption, console
from recsys.cli.source import feature_settings
from recsys.errors import DatasetError

if TYPE_CHECKING:
    from recsys.features import FileStats, Replay, Rule


def replay_rows(
    path: ZipArgument,
    quarantine: Annotated[
        Path | None,
        typer.Option(
            "--quarantine",
            exists=True,
            dir_okay=False,
            help="quarantine.parquet of a run or of `recsys validate --out`; at most 100,000 "
            "rows per rule. Without it, PATH is validated first.",
        ),
    ] = None,
    ratings: Annotated[
        Path | None,
        typer.Option("--ratings", exists=True, dir_okay=False, help="CSV of repaired ratings."),
    ] = None,
    movies: Annotated[
        Path | None,
        typer.Option(
            "--movies", exists=True, dir_okay=False, help="CSV of repaired or missing movies."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            dir_okay=False,
            help="Write the new dataset to this zip, and its md5 to OUT.md5.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Validate quarantined rows again after a fix, and make a new dataset of the valid rows.

    The fix is a change of the rules, or repaired rows: CSV files with the headers of ratings.csv
    and movies.csv. Without --out the command only counts. With it, the valid rows of PATH and the
    repaired rows become a new dataset with its own md5; run the pipeline on it with
    `recsys run --source OUT`. The features of the old dataset do not change.
    """
    if out and out.resolve() == path.resolve():
        raise typer.BadParameter("is the dataset itself; choose another file", param_hint="--out")
    settings = feature_settings()
    with (
        output.errors.status(f"replaying {output.safe(path.name)}"),
        dataset.open_dataset(path, columns=settings.columns) as archive,
    ):
        if quarantine:
            before = _counts(quarantine)
        else:
            alone = features.replay_quarantine(
                archive, {}, scale=settings.scale, id_bits=settings.id_bits
            )
            before = {file: _file_stats(counts) for file, counts in alone.after.items()}
        found = features.replay_quarantine(
            archive,
            before,
            repaired_ratings=ratings,
            repaired_movies=movies,
            out=out,
            scale=settings.scale,
            id_bits=settings.id_bits,
        )
    if as_json:
        output.print_json(
            {
                "before": found.before,
                "after": found.after,
                "pass_now": {file: found.now_valid(file) for file in found.after},
                "mended": found.repaired,
                "rows": found.rows,
                "path": str(out) if out else None,
                "md5": found.md5,
            }
        )
        return
    _print_replay(found)
    if out:
        shown = output.safe(str(out))
        console.print(f"\n{shown}: md5 {found.md5}", soft_wrap=True)
        # One line, however long, and quoted: it is copied into a shell.
        line = f"{output.command()} run --source {shlex.quote(str(out))}"
        console.print(f"Run the pipeline on it:\n  {output.safe(line)}", soft_wrap=True)


def _counts(quarantine: Path) -> dict[str, FileStats]:
    import polars as pl

    try:
        rows = (
            pl.scan_parquet(quarantine)
            .select("file", "rule")
            .cast({name: features.QUARANTINE_SCHEMA[name] for name in ("file", "rule")})
        )
        counted = rows.group_by("file", "rule").len().collect()
    except pl.exceptions.PolarsError as error:
        raise DatasetError(
            f"{quarantine.name} is not a quarantine file",
            found=str(error),
            expected="quarantine.parquet of a run or of `recsys validate --out`",
        ) from error
    found: dict[str, dict[Rule, int]] = {dataset.RATINGS_CSV: {}, dataset.MOVIES_CSV: {}}
    for file, rule, count in counted.iter_rows():
        found[file][features.Rule(rule)] = count
    return {file: _file_stats(counts) for file, counts in found.items()}


def _file_stats(counts: dict[Any, int]) -> FileStats:
    return features.FileStats(rows=sum(counts.values()), quarantine=counts)


def _print_replay(found: Replay) -> None:
    shown = output.table("file", "rule", " quarantined", " valid now", " still invalid")
    for file, after in found.after.items():
        passing = found.now_valid(file)
        for rule in dict.fromkeys([*found.before.get(file, {}), *after]):
            if rule == "duplicate":
                continue
            shown.add_row(
                file,
                rule,
                f"{found.before[file].get(rule, 0):,}",
                f"{passing.get(rule, 0):,}",
                f"{after.get(rule, 0):,}",
            )
    console.print(shown if shown.row_count else "no rows in quarantine")
    for file, rows in found.rows.items():
        console.print(f"{file}: {rows:,} rows, {found.repaired.get(file, 0):,} of them repaired")
