"""The ordered list of places that one dataset can come from, and how one after another is tried."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import unquote, urlsplit

from recsys.dataset.sources import BucketSource, FileSource, Source
from recsys.dataset.web import WebSource, without_secrets
from recsys.errors import ConfigurationError, DatasetError, RecsysError, SourceUnreachableError

if TYPE_CHECKING:
    from recsys.dataset.settings import FetchSettings
    from recsys.object_store import S3Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

_AT_THE_ENDS: Final = re.compile(r"\A[\s,]+|[\s,]+\Z")
# Paths may hold blanks and commas; only what looks like the beginning of a source ends one.
_BETWEEN: Final = re.compile(r"[\s,]+(?=[A-Za-z][A-Za-z0-9+.-]*://|/)")


def split_sources(source: str) -> list[str]:
    """The sources that a setting names: URLs or paths, separated by blanks or commas.

    Each but the first begins with a scheme (``https://``) or a slash. The order counts.

    Raises:
        ConfigurationError: there is none.
    """
    listed = _AT_THE_ENDS.sub("", source)
    if not listed:
        raise ConfigurationError(
            "no source of datasets is named",
            found=source,
            expected="a URL or a path, or several",
            hint="set the dataset's source",
        )
    return _BETWEEN.split(listed)


def shown_sources(source: str) -> str:
    """The same as people may see it: without credentials and queries."""
    return " ".join(map(_shown, split_sources(source)))


def find_sources(
    source: str, settings: FetchSettings, s3: S3Settings | None = None
) -> list[Source]:
    """The sources that a setting names (see `split_sources`); opens nothing yet.

    Raises:
        ConfigurationError: no such kind of source.
    """
    return [_find_source(one, settings, s3) for one in split_sources(source)]


def first_that_works(sources: Sequence[Source], attempt: Callable[[Source], T]) -> T:
    """What ``attempt`` returns for the first source where it raises nothing.

    Raises:
        SourceUnreachableError: all failed, and for one of them another try may help.
        DatasetError: all failed for good.
        ConfigurationError: all refused.
    """
    failures: list[RecsysError] = []
    for source in sources:
        try:
            return attempt(source)
        except (SourceUnreachableError, DatasetError, ConfigurationError) as error:
            failures.append(error)
            if len(sources) > 1:
                log.warning("source %d of %d: %s", len(failures), len(sources), error)
    if len(failures) == 1:
        raise failures[0]
    kinds = {type(e) for e in failures}
    worst = next(
        kind for kind in (SourceUnreachableError, DatasetError, ConfigurationError) if kind in kinds
    )
    raise worst(
        f"none of the {len(failures)} sources gave what was asked for",
        found="; ".join(e.message for e in failures),
        expected="one that answers, with the md5 that was published",
        hint="the warnings before this say what is wrong with each",
    ) from failures[0]


def _shown(source: str) -> str:
    scheme, separator, _ = source.partition("://")
    try:
        return without_secrets(urlsplit(source)) if separator else source
    except ValueError:
        return f"{scheme}://..."


def _find_source(source: str, settings: FetchSettings, s3: S3Settings | None) -> Source:
    scheme, separator, _ = source.partition("://")
    if not separator:
        return FileSource(_path(source))
    try:
        url = urlsplit(source)
    except ValueError as error:
        raise _no_source(f"{_shown(source)}: {error}") from error
    if scheme in ("http", "https") and url.hostname:
        return WebSource(url, settings)
    if scheme == "file" and url.netloc in ("", "localhost"):
        return FileSource(_path(unquote(url.path)))
    if scheme == "s3" and url.netloc and "@" not in url.netloc and len(url.path) > 1:
        settings_there = s3.model_copy(update={"bucket": url.netloc}) if s3 else None
        return BucketSource(url.netloc, url.path[1:], settings_there)
    raise _no_source(without_secrets(url))


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # ~nobody
        raise _no_source(text) from error


def _no_source(found: str) -> ConfigurationError:
    return ConfigurationError(
        "not a source of datasets",
        found=found,
        expected="https://host/name.zip, s3://bucket/key.zip, file:///path.zip or a path",
        hint="correct the dataset's source in the settings",
    )
