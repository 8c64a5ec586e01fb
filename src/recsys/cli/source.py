"""The option ``--source``: choosing the dataset of a command, and the settings that reach it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from recsys import dataset, experiments
from recsys.cli import output
from recsys.cli.output import errors
from recsys.embedded.home import Home
from recsys.errors import (
    ConfigurationError,
    DatasetError,
    SourceUnreachableError,
    first_invalid_field,
)

if TYPE_CHECKING:
    from recsys.contract import BuildSettings, FeatureSettings
    from recsys.dataset import FetchSettings
    from recsys.object_store import S3Settings
    from recsys.recommenders import Description

_CONNECTION: Final = "AIRFLOW_CONN_RECSYS_SOURCE"

SourceOption = Annotated[
    str | None,
    typer.Option(
        "--source",
        "-s",
        envvar="RECSYS_SOURCE",
        help="Zip in MovieLens format: path, http(s):// or s3:// URL, with its md5 in SOURCE.md5. "
        "Several mirrors are separated by blanks and tried in order. `md5=` after one names its "
        "md5, or another URL of its md5 file. A login belongs in RECSYS_SOURCE_USER and "
        "RECSYS_SOURCE_PASSWORD, a token in RECSYS_SOURCE_TOKEN. "
        "Default: the source used last, else GroupLens' ml-latest-small.",
    ),
]


def choose_source(home: Home, given: str | None) -> str:
    """Chooses the dataset's source and stores it for later commands and for the weekly runs.

    A given source is checked first, as far as that needs no server of the stack.

    Without a given or stored source this is GroupLens' small dataset. If that cannot be reached, it
    is a generated sample, and a notice is printed.
    """
    if given:
        chosen = absolute_source(given)
        check_source(chosen)
    else:
        chosen = home.source() or _reachable_default(home)
    home.remember_source(chosen)
    return chosen


def absolute_source(given: str) -> str:
    """Returns a source, or several mirrors, whose paths do not depend on the working directory."""
    return " ".join(map(_absolute, dataset.split_sources(given)))


def check_source(source: str) -> None:
    """Looks for a source's files before servers are started: the zip, and its md5.

    Of several mirrors, only the md5 is read. Objects in S3 are looked at by the run.

    Raises:
        DatasetError: a file is missing, or is no md5 file.
        SourceUnreachableError: the server does not answer.
    """
    mirrors = dataset.split_sources(source)
    path = Path(dataset.without_md5(mirrors[0]))
    if len(mirrors) == 1 and "://" not in mirrors[0] and not path.is_file():
        raise DatasetError(
            f"{path} does not exist" if not path.exists() else f"{path} is not a file",
            expected="a zip in MovieLens format, and its md5 in a file of the same name with .md5 "
            "appended",
            hint="correct --source",
        )
    if not dataset.needs_s3(source):
        dataset.read_source_md5(source, settings=fetch_settings(source))


def source_of(given: str | None) -> str:
    """Returns the dataset's source; unlike `choose_source`, a given one is not stored."""
    return given or choose_source(Home(), None)


def fetch_settings(source: str) -> FetchSettings:
    """Returns timeouts and credentials of a source: ``RECSYS_SOURCE_*``, else the netrc file."""
    settings = dataset.FetchSettings.from_environment()
    return settings.with_credentials(dataset.environment_credentials(source))


def source_connection(source: str) -> dict[str, str]:
    """Returns the credentials of a source as the Airflow Connection of the embedded stack.

    It is empty if there are none, or if the environment has the Connection.
    """
    found = None if os.environ.get(_CONNECTION) else dataset.environment_credentials(source)
    if found is None:
        return {}
    fields = {"conn_type": "http", "host": found.server, "extra": found.request_headers()}
    return {_CONNECTION: json.dumps(fields)}


def feature_settings() -> FeatureSettings:
    """Returns the settings of a run's features; see `build_settings`."""
    return build_settings(chosen_description()).features


def chosen_description() -> Description | None:
    """Returns the description of the chosen recommender; None if the first one has none.

    Raises:
        ConfigurationError: there is no such recommender, or its description is invalid.
    """
    from recsys import recommenders

    name = recommenders.chosen_recommender()
    if recommenders.Namespace(name).is_first:
        # A bare installation has no folder of descriptions.
        return recommenders.read_descriptions(output.descriptions_folder()).valid.get(name)
    return output.description(name)


def build_settings(described: Description | None) -> BuildSettings:
    """Returns the settings of a run's build: of the description, else of the variable.

    Raises:
        ConfigurationError: ``RECSYS_BUILD_SETTINGS`` is invalid.
    """
    from pydantic import ValidationError

    from recsys.contract import BuildSettings

    if described is not None and described.build is not None:
        return described.build
    try:
        document = os.environ.get("RECSYS_BUILD_SETTINGS") or "{}"
        return BuildSettings.model_validate_json(document)
    except ValidationError as error:
        raise ConfigurationError(
            "RECSYS_BUILD_SETTINGS is invalid",
            found=str(first_invalid_field(error)),
            expected="a JSON object of build settings",
        ) from error


def make_features(given: str | None, folder: Path) -> str:
    """Makes the features of a source below an existing folder, as a run does.

    Returns:
        The md5 of the dataset.
    """
    chosen = source_of(given)
    with s3_of_source(chosen) as s3:
        return experiments.make_local_features(
            chosen,
            folder,
            feature_settings(),
            lambda done, total: None,
            s3,
            fetch_settings(chosen),
        )


@contextmanager
def s3_of_source(source: str) -> Iterator[S3Settings | None]:
    """Yields the S3 settings for reading a source, or None if none of its mirrors is in S3.

    They come from the environment if it has any, else from the embedded S3 server. That server is
    started if it is not running, and stopped again at the end.
    """
    from recsys.contract import ENV_S3_BUCKET, ENV_S3_ENDPOINT, SECRET_ENV
    from recsys.object_store import S3Settings

    variables = (ENV_S3_BUCKET, ENV_S3_ENDPOINT, *SECRET_ENV, "AWS_PROFILE")
    if not dataset.needs_s3(source):
        yield None
    elif any(os.environ.get(name) for name in variables):
        # The bucket is that of the source's URL, so the bucket of the artifacts need not be set.
        bucket = os.environ.get(ENV_S3_BUCKET) or "unused"
        yield S3Settings.from_environment({**os.environ, ENV_S3_BUCKET: bucket})
    else:
        from recsys.embedded import stack

        home = Home()
        with stack.object_store(home):
            yield S3Settings.from_environment({**os.environ, **stack.s3_environment(home)})


def _absolute(source: str) -> str:
    return source if "://" in source else str(Path(source).expanduser().resolve())


def _reachable_default(home: Home) -> str:
    try:
        dataset.read_source_md5(dataset.DEFAULT_SOURCE)
    except (SourceUnreachableError, DatasetError) as error:
        path = home.folder("sample") / "sample.zip"
        errors.print(
            f"[yellow]notice:[/] {dataset.DEFAULT_SOURCE} cannot be reached;\n"
            "using a generated sample instead. Use your own dataset with `--source FILE.zip`."
        )
        errors.print(f"  {error.found or error.message}", style="dim", markup=False)
        if not path.with_name(path.name + ".md5").exists():
            dataset.write_sample(path)
        return str(path)
    return dataset.DEFAULT_SOURCE
