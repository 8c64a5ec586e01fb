"""Inflates an entry of a zip: by ISA-L where it is installed, else by zlib.

ISA-L inflates the text of ratings about four times as fast as zlib. There are wheels of it for the
common platforms only, so it is optional. What is accepted does not depend on it: the size and the
checksum of the whole entry decide.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, Final, cast

try:
    from isal import isal_zlib
except ImportError:  # no wheel for this platform
    _HAS_ISAL = False
else:
    _HAS_ISAL = True

RAW_DEFLATE: Final = -15
"""Window bits of a stream without a header, as zips contain it."""
_STORED_BYTES: Final = 1 << 18
_INFLATED_BYTES: Final = 1 << 17
"""Larger results are allocated by mapping memory, and clearing its pages takes as long again."""


@dataclass(frozen=True)
class Engine:
    """A library that inflates.

    Attributes:
        name: of the library.
        decompressor: makes an object with zlib's interface for a raw stream.
        crc32: continues a checksum.
        error: raised for a damaged stream.
    """

    name: str
    decompressor: Callable[[], Any]
    crc32: Callable[[bytes, int], int]
    error: type[Exception]


ZLIB: Final = Engine("zlib", lambda: zlib.decompressobj(RAW_DEFLATE), zlib.crc32, zlib.error)


def _engines() -> tuple[Engine, ...]:
    if not _HAS_ISAL:
        return (ZLIB,)
    isal = Engine(
        "ISA-L",
        lambda: isal_zlib.decompressobj(RAW_DEFLATE),
        isal_zlib.crc32,
        cast(type[Exception], isal_zlib.error),  # its stub says: an instance
    )
    return isal, ZLIB


ENGINES: Final = _engines()
"""The installed ones, the fastest first."""


def inflated_size(deflated: bytes) -> int:
    """Inflates a raw stream with the fastest library; returns the number of bytes."""
    return sum(len(chunk) for chunk in inflated(io.BytesIO(deflated), ENGINES[0]))


class DamagedEntryError(ValueError):
    """The content of an entry is not what the archive's directory states."""


def inflated(stored: IO[bytes], engine: Engine) -> Iterator[bytes]:
    """Yields what a raw stream inflates to, in chunks of at most 128 KiB.

    Args:
        stored: the stream; bytes behind its end are ignored.
        engine: the library to use.

    Raises:
        DamagedEntryError: the stream is damaged, or it ends early.
    """
    decompressor = engine.decompressor()
    try:
        while not decompressor.eof:
            # zlib keeps the input that does not fit into the output.
            pending = decompressor.unconsumed_tail or stored.read(_STORED_BYTES)
            chunk = decompressor.decompress(pending, _INFLATED_BYTES)
            if chunk:
                yield chunk
            elif not pending:
                raise DamagedEntryError("the compressed data ends early")
    except engine.error as error:
        raise DamagedEntryError(str(error)) from error


def checked(chunks: Iterator[bytes], size: int, crc: int, engine: Engine) -> Iterator[bytes]:
    """Yields chunks; fails once there are more than ``size`` bytes, or if size or checksum differ.

    The last chunks are yielded before the checksum is known, so use nothing of them before the
    iterator has ended.

    Args:
        chunks: the content.
        size: its number of bytes as the archive's directory states it.
        crc: its CRC-32, from there too.
        engine: computes the checksum.

    Raises:
        DamagedEntryError: the content differs.
    """
    done = found = 0
    for chunk in chunks:
        done += len(chunk)
        if done > size:
            raise DamagedEntryError(f"more bytes than the {size} that the directory states")
        found = engine.crc32(chunk, found)
        yield chunk
    if done != size:
        raise DamagedEntryError(f"{done} bytes where the directory states {size}")
    if found != crc:
        raise DamagedEntryError(f"CRC-32 {found:08x} where the directory states {crc:08x}")
