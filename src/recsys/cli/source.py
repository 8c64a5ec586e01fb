"""Which dataset a command means: the one given, the one remembered, GroupLens', or a sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys import dataset
from recsys.cli.output import errors
from recsys.dataset import DEFAULT_SOURCE, split_sources
from recsys.embedded.home import Home
from recsys.errors import DatasetError, SourceUnreachableError

SourceOption = Annotated[
    str | None,
    typer.Option(
        "--source",
        "-s",
        help="Zip in MovieLens format: path, http(s):// or s3://; its md5 beside it as SOURCE.md5. "
        "Mirrors may follow, after blanks; each is tried if those before it fail. "
        "By default the one used last, else GroupLens' ml-latest-small.",
    ),
]


def choose_source(home: Home, given: str | None) -> str:
    """The dataset to use; it is remembered for later commands and for the weekly runs.

    With nothing given or remembered it is GroupLens' small dataset, or, where that is out of
    reach, a generated sample, and the user is told so.
    """
    if given:
        chosen = " ".join(map(_absolute, split_sources(given)))
    else:
        chosen = home.source() or _within_reach(home)
    home.remember_source(chosen)
    return chosen


def _absolute(source: str) -> str:
    return source if "://" in source else str(Path(source).expanduser().resolve())


def _within_reach(home: Home) -> str:
    try:
        dataset.read_source_md5(DEFAULT_SOURCE)
    except (SourceUnreachableError, DatasetError) as error:
        path = home.folder("sample") / "sample.zip"
        errors.print(
            f"[yellow]notice:[/] {DEFAULT_SOURCE} is out of reach;\nusing a generated sample "
            "instead. `--source FILE.zip` takes a dataset of yours."
        )
        errors.print(f"  {error.found or error.message}", style="dim", markup=False)
        if not path.with_name(path.name + ".md5").exists():
            dataset.write_sample(path)
        return str(path)
    return DEFAULT_SOURCE
