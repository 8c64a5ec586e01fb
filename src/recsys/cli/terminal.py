"""Terminals and pipes with another encoding than UTF-8."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

_IN_ASCII = "recsys-in-ascii"
_MARKS = {
    "\N{CHECK MARK}": "+",
    "\N{BALLOT X}": "x",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{BLACK STAR}": "*",
    "\N{RIGHTWARDS ARROW}": "->",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{MIDDLE DOT}": "-",
}


def accept_any_terminal() -> None:
    """Lets a terminal or pipe with another encoding than UTF-8 show what it can.

    Marks have a spelling in ASCII, accents are left out, and anything else is a question mark.
    """
    codecs.register_error(_IN_ASCII, _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_IN_ASCII)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_MARKS.get(one) or _letters(one) for one in text), error.end


def _letters(one: str) -> str:
    plain = unicodedata.normalize("NFKD", one).encode("ascii", "ignore").decode()
    return plain or ("" if unicodedata.combining(one) else "?")
