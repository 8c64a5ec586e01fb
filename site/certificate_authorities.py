"""The certificate authorities that the environment names, as the one file that boto3 reads.

OpenSSL reads a file (``SSL_CERT_FILE``) and folders (``SSL_CERT_DIR``), requests a file or a
folder, and boto3 only a file. So the certificates of folders are joined into a file. The site has a
copy of this module, because it imports nothing of the pipeline.
"""

from __future__ import annotations

import functools
import os
import re
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

_OF_REQUESTS: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_FILE: Final = "SSL_CERT_FILE"
_FOLDERS: Final = "SSL_CERT_DIR"
_HASHED: Final = re.compile(r"[0-9a-f]{8}\.\d+")
"""The names that OpenSSL looks up in a folder; others it does not read."""
EXPECTED: Final = (
    "a file of certificates in PEM format, or a folder of such files in which `openssl rehash` "
    "made the names that OpenSSL looks up"
)


class InvalidAuthoritiesError(OSError):
    """No certificate can be read.

    Attributes:
        variable: the environment variable; empty if the path came from elsewhere.
        path: what it names.
        found: the path, and what is wrong with it.
    """

    def __init__(self, variable: str, path: str, reason: str) -> None:
        super().__init__(f"{variable or 'the setting'} names no certificates: {path}: {reason}")
        self.variable = variable
        self.path = path
        self.found = f"{path}: {reason}"


def trusted_file(chosen: str | None = None) -> str | None:
    """Returns a file with the authorities that are trusted, or None for the built-in ones.

    The first of these counts: ``chosen``, ``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE``, and
    ``SSL_CERT_FILE`` together with ``SSL_CERT_DIR``, as OpenSSL reads both.

    Args:
        chosen: a file or folder that precedes the environment.

    Raises:
        InvalidAuthoritiesError: it does not exist, or holds no certificate.
    """
    if chosen:
        return _one_file("", [chosen])
    for name in _OF_REQUESTS:
        if path := os.environ.get(name):
            return _one_file(name, [path])
    file = os.environ.get(_FILE)
    folders = [path for path in os.environ.get(_FOLDERS, "").split(os.pathsep) if path]
    if file and not folders:
        return _one_file(_FILE, [file])
    if file:
        _check(_FILE, file)
        return _one_file(_FOLDERS, [file, *folders])
    return _one_file(_FOLDERS, folders) if folders else None


def _one_file(variable: str, paths: Sequence[str]) -> str:
    if len(paths) == 1 and not os.path.isdir(paths[0]):
        _check(variable, paths[0])
        return paths[0]
    shown = os.pathsep.join(paths)
    try:
        content = b"\n".join(_certificates(paths))
    except OSError as error:
        raise InvalidAuthoritiesError(variable, shown, error.strerror or str(error)) from error
    if not content:
        reason = "no certificate in a file that is named by its hash, such as 5ed36f99.0"
        if not any(map(os.path.exists, paths)):
            reason = "No such file or directory"
        raise InvalidAuthoritiesError(variable, shown, reason)
    return _kept_file(os.getpid(), content)


def _certificates(paths: Sequence[str]) -> Iterator[bytes]:
    """The content of each file that OpenSSL can read; it passes over the others, too."""
    seen = set()
    for path in paths:
        if os.path.isdir(path):
            files = sorted(file for file in Path(path).iterdir() if _HASHED.fullmatch(file.name))
        else:
            files = [Path(path)]
        for file in files:
            real = os.path.realpath(file)
            if real in seen:
                continue
            seen.add(real)
            try:
                _load(file)
                yield file.read_bytes()
            except OSError:
                continue


def _check(variable: str, path: str) -> None:
    try:
        _load(path)
    except OSError as error:
        raise InvalidAuthoritiesError(variable, path, error.strerror or str(error)) from error


def _load(path: str | Path) -> None:
    """Loads the certificates of a file, if it has changed since the last time."""
    found = os.stat(path)
    _load_once(path, found.st_ino, found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _load_once(path: str | Path, *_: int) -> None:
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)


_open_files: Final[list[Any]] = []


@functools.cache
def _kept_file(process: int, content: bytes) -> str:
    """Returns a file with this content that disappears with the process, however it ends.

    Args:
        process: its id; a fork gets a file of its own.
        content: the certificates.
    """
    if hasattr(os, "memfd_create"):
        file: Any = open(os.memfd_create("certificate-authorities"), "wb")
        name = f"/proc/self/fd/{file.fileno()}"
    else:
        file = tempfile.NamedTemporaryFile(suffix=".pem")
        name = file.name
    file.write(content)
    file.flush()
    _open_files.append(file)
    return name
