"""A dataset on a web server: read from any offset, with what servers do wrong told apart."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote, urlunsplit

from recsys.dataset.sources import Part, Source, missing, unreachable
from recsys.errors import ConfigurationError, DatasetError

if TYPE_CHECKING:
    import httpx

    from recsys.dataset.settings import FetchSettings

_BUSY: Final = {408, 416, 425, 429}
"""Answers worth another try; 416: what was there before the cut has changed."""
_REFUSED: Final = {401, 403, 407}
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)")


class WebSource:
    """A URL (http, https), through the proxies that the environment names."""

    def __init__(self, url: SplitResult, settings: FetchSettings) -> None:
        self._url = url
        self._settings = settings
        self.shown = without_secrets(url)
        self.file_name = PurePosixPath(unquote(url.path)).name

    def md5_file(self) -> Source:
        """See `Source`."""
        return WebSource(self._url._replace(path=self._url.path + ".md5"), self._settings)

    @contextmanager
    def open(self, start: int = 0, mark: str | None = None) -> Iterator[Part]:
        """See `Source`."""
        import httpx

        # httpx logs whole URLs at INFO, with the secrets that a query may hold.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        # A cache on the way may hold an md5 of last week beside a zip of today: it must ask.
        headers = {"Accept-Encoding": "identity", "Cache-Control": "no-cache"}
        if start and mark:
            headers |= {"Range": f"bytes={start}-", "If-Range": mark}
        try:
            with (
                self._client() as client,
                client.stream("GET", urlunsplit(self._url), headers=headers) as response,
            ):
                self._check(response)
                yield self._part(response, start, mark)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
            raise ConfigurationError(
                f"{self.shown} cannot be asked for", found=str(error), hint="correct the URL"
            ) from error
        except httpx.TransportError as error:
            if isinstance(error, httpx.ProxyError) and str(error).startswith("407"):
                raise self._refused("HTTP 407, from a proxy") from error
            raise unreachable(self.shown, f"{type(error).__name__}: {error}") from error

    def _client(self) -> httpx.Client:
        import httpx

        timeout = httpx.Timeout(
            self._settings.read_timeout_s, connect=self._settings.connect_timeout_s
        )
        try:
            return httpx.Client(timeout=timeout, follow_redirects=True, max_redirects=5)
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            # Their text is left out: it may hold the proxy's password.
            raise ConfigurationError(
                "the proxy that the environment names cannot be used",
                found=type(error).__name__,
                expected="http://host:port",
                hint="correct HTTP_PROXY, HTTPS_PROXY or ALL_PROXY, or name the host in NO_PROXY",
            ) from error

    def _check(self, response: httpx.Response) -> None:
        status = response.status_code
        if status >= 500 or status in _BUSY:
            raise unreachable(self.shown, f"HTTP {status}")
        if status in _REFUSED:
            raise self._refused(f"HTTP {status}")
        if status not in (200, 206):
            raise missing(self.shown, f"HTTP {status}")
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding in {"gzip", "x-gzip", "deflate", "br", "zstd"}:
            raise DatasetError(
                f"{self.shown} is sent compressed, though the file itself was asked for",
                found=f"Content-Encoding: {encoding}",
                expected="the bytes that were published",
                hint="have the web server compress neither .zip nor .md5",
            )

    def _refused(self, found: str) -> ConfigurationError:
        return ConfigurationError(
            f"access to {self.shown} was refused",
            found=found,
            hint="check the URL and the credentials in it; at 407, those of the proxy",
        )

    def _part(self, response: httpx.Response, start: int, wanted: str | None) -> Part:
        headers = response.headers
        mark = headers.get("ETag", "")
        if not mark or mark.startswith("W/"):
            mark = headers.get("Last-Modified")
        # As they come: what waits for a chunk to fill would be lost when the connection is cut.
        chunks = response.iter_raw()
        if response.status_code == 200:
            length = headers.get("Content-Length", "")
            return Part(0, int(length) if length.isdecimal() else None, mark, chunks)
        match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if match is None or int(match[1]) != start:
            raise unreachable(
                self.shown, f"Content-Range {headers.get('Content-Range')!r} for offset {start}"
            )
        if wanted and mark != wanted:
            # Such a server does not heed If-Range, and this is the end of another file.
            raise unreachable(self.shown, f"mark {mark}, {wanted} before: it changed meanwhile")
        return Part(start, int(match[2]) if match[2] != "*" else None, mark, chunks)


def without_secrets(url: SplitResult) -> str:
    """The URL as messages may show it: no credentials, no query."""
    return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "", ""))
