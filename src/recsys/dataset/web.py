"""A dataset on a web server, read from any offset."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from recsys.dataset.sources import Part, Source, busy, missing, unreachable
from recsys.errors import ConfigurationError, DatasetError

if TYPE_CHECKING:
    import requests

    from recsys.dataset.settings import FetchSettings

_CHUNK: Final = 1 << 18
_MAX_REDIRECTS: Final = 5
_RETRYABLE: Final = {408, 416}
"""Status codes below 500 that another attempt may change. 416: the file has become shorter."""
_BUSY: Final = {202, 425, 429}
"""Status codes of a server that makes the file, or is asked too often. 202 has no file yet."""
_WHOLE: Final = {200, 203}
"""203: a proxy between says that it may have changed the file; the md5 tells whether it has."""
_REFUSED: Final = {401, 403, 407}
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)")


class WebSource:
    """A file at an http or https URL, read through the proxies that the environment sets."""

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
        import requests
        from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema, ProxyError
        from urllib3.exceptions import LocationValueError

        from recsys.http_client import (
            TRANSPORT_ERRORS,
            check_certificates,
            check_proxy,
            describe_error,
            open_session,
            untrusted_certificate,
        )

        url = urlunsplit(self._url)
        check_proxy(url)
        if self._url.scheme == "https":
            check_certificates()
        # A cache could return last week's md5 with today's zip: no-cache has it revalidate.
        headers = {"Accept-Encoding": "identity", "Cache-Control": "no-cache"}
        if start and mark:
            headers |= {"Range": f"bytes={start}-", "If-Range": mark}
        timeouts = (self._settings.connect_timeout_s, self._settings.read_timeout_s)
        try:
            with open_session(
                connect_attempts=2, credentials=self._settings.credentials
            ) as session:
                session.max_redirects = _MAX_REDIRECTS
                with session.get(url, headers=headers, timeout=timeouts, stream=True) as response:
                    self._check(response)
                    yield self._part(response, start, mark)
        except requests.TooManyRedirects as error:
            raise self._unusable(f"more than {_MAX_REDIRECTS} redirects") from error
        except (InvalidSchema, InvalidURL, MissingSchema, LocationValueError) as error:
            # The error's text contains the URL.
            raise self._unusable(f"{type(error).__name__} in it or in a redirect") from error
        except TRANSPORT_ERRORS as error:
            if untrusted := untrusted_certificate(error, self.shown):
                raise untrusted from error
            found = describe_error(error)
            if isinstance(error, ProxyError) and " 407 " in found:
                raise self._refused("HTTP 407, from a proxy") from error
            raise unreachable(self.shown, found) from error

    def _check(self, response: requests.Response) -> None:
        status = response.status_code
        retry_after = _retry_after(response)
        if status in _BUSY or (retry_after and status >= 500):
            raise busy(self.shown, f"HTTP {status}", retry_after)
        if status >= 500 or status in _RETRYABLE:
            raise unreachable(self.shown, f"HTTP {status}")
        if status in _REFUSED:
            raise self._refused(f"HTTP {status}, {self._sent_to(response)}")
        if status not in _WHOLE and status != 206:
            raise missing(self.shown, f"HTTP {status}")
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding in {"gzip", "x-gzip", "deflate", "br", "zstd"}:
            raise DatasetError(
                f"{self.shown} is sent compressed, although the request forbids it",
                found=f"Content-Encoding: {encoding}",
                expected="the published bytes",
                hint="turn off compression of .zip and .md5 files in the web server",
            )

    def _unusable(self, found: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self.shown} cannot be requested",
            found=found,
            expected="an http or https URL",
            hint="correct the dataset's source",
        )

    def _sent_to(self, response: requests.Response) -> str:
        """Describes which credentials a server got, for the error of one that wants others."""
        credentials, headers = self._settings.credentials, response.request.headers
        own = credentials.request_headers() if credentials else {}
        if any(headers.get(name) == value for name, value in own.items()):
            text = f"with the credentials of {credentials.name}" if credentials else ""
        elif "Authorization" in headers:
            text = "with the credentials in the URL"
        elif credentials and not own:
            text = f"without credentials: {credentials.name} has none"
        elif credentials:
            text = f"without those of {credentials.name}, which are for {credentials.server}"
        else:
            text = "without credentials"
        if response.history:
            server = urlsplit(response.url)._replace(path="")
            text += f", after a redirect to {without_secrets(server)}"
        return text

    def _refused(self, found: str) -> ConfigurationError:
        hint = (
            "check the URL and the credentials: of the Connection recsys_source in Airflow, of "
            "RECSYS_SOURCE_* on the command line, for HTTP 407 of the proxy"
        )
        if self._url.query:
            hint += "; a signed URL expires, and is for one file: name the signed URL of the md5 "
            hint += "file after it, as in `URL md5=URL`"
        return ConfigurationError(f"access to {self.shown} was refused", found=found, hint=hint)

    def _part(self, response: requests.Response, start: int, expected_mark: str | None) -> Part:
        headers = response.headers
        mark = headers.get("ETag")
        if not mark or mark.startswith("W/"):
            mark = headers.get("Last-Modified")
        chunks = _chunks(response)
        if response.status_code in _WHOLE:
            length = headers.get("Content-Length", "")
            return Part(0, int(length) if length.isdecimal() else None, mark, chunks)
        match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if match is None or int(match[1]) != start:
            raise unreachable(
                self.shown, f"Content-Range {headers.get('Content-Range')!r} for offset {start}"
            )
        if expected_mark and mark != expected_mark:
            # The server ignores If-Range and sends the rest of a different file.
            raise unreachable(
                self.shown, f"ETag or date {mark} instead of {expected_mark}: the file has changed"
            )
        return Part(start, int(match[2]) if match[2] != "*" else None, mark, chunks)


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """Yields the body's bytes as they arrive, not decoded.

    `requests` would wait until a chunk is full: a stalled server would go unnoticed as long as it
    sends a byte now and then, and an incomplete chunk would be lost with the connection.
    """
    while chunk := response.raw.read1(_CHUNK, decode_content=False):
        yield chunk


def _retry_after(response: requests.Response) -> float:
    """Returns the seconds that a server asks to wait; 0 if it names none, or not correctly."""
    from urllib3.exceptions import InvalidHeader
    from urllib3.util import Retry

    try:
        return max(Retry().parse_retry_after(response.headers.get("Retry-After", "0")), 0.0)
    except (InvalidHeader, OverflowError, ValueError):
        return 0.0


def without_secrets(url: SplitResult) -> str:
    """Returns the URL without credentials and query, for messages."""
    return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "", ""))
