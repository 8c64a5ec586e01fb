"""Mirrors: the ordered list of sources of one dataset, tried one after the other."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from recsys.dataset.sources import BucketSource, FileSource, Source, SourceWithMd5, TextSource
from recsys.dataset.web import WebSource, without_secrets
from recsys.errors import (
    ConfigurationError,
    DatasetError,
    RecsysError,
    SourceUnreachableError,
    UnmatchedDatasetError,
)

if TYPE_CHECKING:
    from recsys.dataset.settings import FetchSettings
    from recsys.object_store import S3Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

# The most hopeful failure is the error of all mirrors.
_KINDS: Final = (SourceUnreachableError, UnmatchedDatasetError, DatasetError, ConfigurationError)

_S3: Final = "s3://"
_WEB: Final = ("http", "https")
_ENDS: Final = re.compile(r"\A[\s,]+|[\s,]+\Z")
# A path may contain blanks and commas: only what looks like the start of a source separates.
# An md5 belongs to the source before it: its digits, or the URL or path of a file.
_MD5: Final = re.compile(
    r"[\s,]+md5=(?P<md5>[0-9a-fA-F]{32}(?![^\s,])|[A-Za-z][A-Za-z0-9+.-]*://\S+|/\S.*)\Z"
)
_SIGNATURE: Final = 16
"""Characters of a value in a query from which on it may be a signature or token."""
_DIGITS: Final = re.compile("[0-9a-fA-F]{32}")
_SEPARATOR: Final = re.compile(r"[\s,]+(?=[A-Za-z][A-Za-z0-9+.-]*://|/)")


def split_sources(source: str) -> list[str]:
    """Splits a setting into its sources: URLs or paths, separated by blanks or commas.

    Each source but the first must start with a scheme (``https://``) or a slash. A source may be
    followed by ``md5=`` and its md5, or the URL or path of its md5 file: that stays with it.

    Raises:
        ConfigurationError: the setting contains no source.
    """
    sources = _ENDS.sub("", source)
    if not sources:
        raise ConfigurationError(
            "the dataset's source is empty",
            found=source,
            expected="a URL or a path, or several",
            hint="set the dataset's source",
        )
    return _SEPARATOR.split(sources)


def names_md5(source: str) -> bool:
    """Whether a single source is followed by its md5."""
    return _MD5.search(source) is not None


def without_md5(source: str) -> str:
    """Returns a single source without the md5 that follows it."""
    return _MD5.sub("", source)


def redact_sources(source: str) -> str:
    """Returns the sources without credentials and queries, for messages."""
    return " ".join(map(_redact, split_sources(source)))


def source_secrets(source: str) -> list[str]:
    """Returns the parts of the sources that may be secret: passwords, queries, signatures."""
    found: list[str] = []
    for url in _urls(source):
        # A user without a password is a token.
        login = (url.username if url.password is None else url.password) or ""
        found += [login, unquote(login), url.query]
        found += [value for _, value in parse_qsl(url.query) if len(value) >= _SIGNATURE]
    return sorted({secret for secret in found if secret})


def has_login(source: str) -> bool:
    """Returns whether a URL of the sources contains a password or a token as its user."""
    return any("@" in url.netloc for url in _urls(source))


def web_servers(source: str) -> list[str]:
    """Returns the web servers of the sources and their md5 files: ``https://host:port``."""
    return [
        f"{url.scheme}://{url.netloc.rpartition('@')[2]}"
        for url in _urls(source)
        if url.scheme in _WEB and url.hostname
    ]


def needs_s3(source: str) -> bool:
    """Returns whether one of the sources is an object in S3."""
    return any(one.startswith(_S3) or f"md5={_S3}" in one for one in split_sources(source))


def parse_sources(
    source: str, settings: FetchSettings, s3: S3Settings | None = None
) -> list[Source]:
    """Creates the sources of a setting (see `split_sources`); opens no connection yet.

    Raises:
        ConfigurationError: a source is malformed or has an unknown scheme.
    """
    return [_parse_source(one, settings, s3) for one in split_sources(source)]


def try_sources(sources: Sequence[Source], attempt: Callable[[Source], T]) -> T:
    """Calls ``attempt`` for each source in turn; returns the first result.

    Raises:
        SourceUnreachableError, UnmatchedDatasetError: all sources failed, and a retry may help for
            one of them.
        DatasetError: all sources failed permanently.
        ConfigurationError: all sources denied access or are invalid.
    """
    failures: list[RecsysError] = []
    for source in sources:
        try:
            return attempt(source)
        except _KINDS as error:
            failures.append(error)
            if len(sources) > 1:
                log.warning("source %d of %d: %s", len(failures), len(sources), error)
    if len(failures) == 1:
        raise failures[0]
    kind = next(kind for kind in _KINDS if any(isinstance(e, kind) for e in failures))
    raise kind(
        f"none of the {len(failures)} sources has the dataset",
        found="; ".join(e.message for e in failures),
        expected="a source that answers, with the published md5",
        hint="see the warnings above for the error of each source",
    ) from failures[0]


def _urls(source: str) -> Iterator[SplitResult]:
    for one in split_sources(source):
        match = _MD5.search(one)
        for text in (without_md5(one), match["md5"] if match else ""):
            if "://" in text:
                with suppress(ValueError):
                    yield urlsplit(text)


def _redact(source: str) -> str:
    if match := _MD5.search(source):
        md5 = match["md5"]
        shown = md5 if _DIGITS.fullmatch(md5) else _redact(md5)
        return f"{_redact(without_md5(source))} md5={shown}"
    scheme, separator, _ = source.partition("://")
    try:
        return without_secrets(urlsplit(source)) if separator else source
    except ValueError:
        return f"{scheme}://..."


def _parse_source(source: str, settings: FetchSettings, s3: S3Settings | None) -> Source:
    match = _MD5.search(source)
    if match is None:
        return _parse_one(source, settings, s3)
    parsed, md5 = _parse_one(without_md5(source), settings, s3), match["md5"]
    if _DIGITS.fullmatch(md5):
        return SourceWithMd5(parsed, TextSource("the given md5", md5))
    return SourceWithMd5(parsed, _parse_one(md5, settings, s3))


def _parse_one(source: str, settings: FetchSettings, s3: S3Settings | None) -> Source:
    scheme, separator, _ = source.partition("://")
    if not separator:
        return FileSource(_path(source))
    try:
        url = urlsplit(source)
    except ValueError as error:
        raise _invalid_source(f"{_redact(source)}: {error}") from error
    if scheme in _WEB and url.hostname:
        return WebSource(url, settings)
    if scheme == "file" and url.netloc in ("", "localhost"):
        return FileSource(_path(unquote(url.path)))
    if scheme == "s3" and url.netloc and "@" not in url.netloc and len(url.path) > 1:
        bucket_settings = s3.model_copy(update={"bucket": url.netloc}) if s3 else None
        return BucketSource(url.netloc, url.path[1:], bucket_settings)
    raise _invalid_source(without_secrets(url))


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # The user in ~user does not exist.
        raise _invalid_source(text) from error


def _invalid_source(found: str) -> ConfigurationError:
    return ConfigurationError(
        "the dataset's source is invalid",
        found=found,
        expected="https://host/name.zip, s3://bucket/key.zip, file:///path.zip or a path",
        hint="correct the dataset's source in the settings",
    )
