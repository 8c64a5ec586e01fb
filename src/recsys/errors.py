"""Errors of the domain: permanent ones fail at once, transient ones are retried.

Every message states what was found, what was expected, and what to do about it.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pydantic import ValidationError


# Controls, lone surrogates, line and paragraph separators.
_UNPRINTABLE: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
# They change the order in which a terminal shows the rest of its line.
_BIDIRECTIONAL: Final = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def printable(text: str, *, keep: str = "") -> str:
    """Returns text from outside with a replacement character for what a terminal would obey.

    These are control characters, such as the one that begins an escape sequence, and those that
    reverse the direction of writing.

    Args:
        text: the text.
        keep: control characters that stay, such as line feeds.
    """
    if text.isprintable():
        return text
    return "".join(
        one
        if one in keep or not (unicodedata.category(one) in _UNPRINTABLE or one in _BIDIRECTIONAL)
        else "\N{REPLACEMENT CHARACTER}"
        for one in text
    )


class StoppedBySignal(BaseException):
    """A person or a supervisor stops the command; the work ends within seconds.

    It is no Exception, so no step takes it for a failure of its own.

    Args:
        number: number of the signal.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"signal {number}")


class RecsysError(Exception):
    """Base class of all errors that the domain raises deliberately.

    Args:
        message: what went wrong, in one sentence.
        found: the actual value or state.
        expected: the correct value or state.
        hint: what the reader can do about it.
    """

    def __init__(
        self, message: str, *, found: object = None, expected: object = None, hint: str = ""
    ) -> None:
        self.message = message
        self.found = None if found is None else _shorten(found)
        self.expected = None if expected is None else _shorten(expected)
        # A hint may quote the last lines of a log.
        self.hint = printable(hint, keep="\n\t")
        super().__init__(message)

    def __str__(self) -> str:
        parts = [self.message]
        if self.found is not None:
            parts.append(f"found: {self.found}")
        if self.expected is not None:
            parts.append(f"expected: {self.expected}")
        if self.hint:
            parts.append(f"what to do: {self.hint}")
        return "; ".join(parts)


@dataclass(frozen=True)
class InvalidField:
    """A field that failed validation; its string is "name: message".

    Attributes:
        name: path of the field, joined with dots; "document" if the whole input is invalid.
        message: why it is invalid.
        value: the rejected value, which may be a secret: it is not part of the string.
        is_unknown: whether the model has no such field.
    """

    name: str
    message: str
    value: object = field(repr=False)
    is_unknown: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


def first_invalid_field(error: ValidationError) -> InvalidField:
    """Returns the first of the invalid fields that pydantic reports."""
    first = error.errors(include_url=False)[0]
    name = ".".join(map(str, first["loc"])) or "document"
    return InvalidField(name, first["msg"], first["input"], "extra" in first["type"])


def _shorten(value: object, limit: int = 200) -> str:
    """Makes external text safe for one line of a log: printable, at most ``limit`` characters."""
    text = value if isinstance(value, str) else repr(value)
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


class PermanentError(RecsysError):
    """A retry cannot succeed: bad data, bad configuration, a damaged artifact."""


class TransientError(RecsysError):
    """A later retry may succeed: a server is down, a lock is taken."""


class ConfigurationError(PermanentError):
    """A setting is missing or invalid."""


class DatasetError(PermanentError):
    """The dataset, its md5 or its archive is missing or invalid."""


class ArtifactError(PermanentError):
    """A stored file is missing, changed, or differs from its manifest."""


class TrainingError(PermanentError):
    """The trainer rejected its input or ended without a manifest."""


class EvaluationError(PermanentError):
    """The answers of a candidate cannot be evaluated: missing, duplicate or not finite."""


class VectorError(PermanentError):
    """Vectors have a wrong dimension, count or value, or their index finds too few neighbors."""


class UnknownIdError(PermanentError):
    """The requested user or movie has no vector."""


class InvalidRatingError(PermanentError):
    """A rating is outside of the scale of the release's dataset."""


class LedgerError(PermanentError):
    """The ledger rejects an operation: an unknown release, a forbidden change of state."""


class SourceUnreachableError(TransientError):
    """The dataset's source does not answer; this never counts as "unchanged"."""


class UnmatchedDatasetError(TransientError):
    """A published md5 has no zip that matches it yet; its publisher may still be uploading it."""


class ServiceUnavailableError(TransientError):
    """PostgreSQL, S3 or another server that the pipeline needs does not answer."""


class StalledError(ServiceUnavailableError):
    """A server accepts requests and does not answer; asking again takes as long."""


class DiskFullError(TransientError):
    """The disk for temporary files is full; space may be free before the next attempt."""


class OutOfMemoryError(TransientError):
    """Memory ran out; other processes may use less at the next attempt, or the limit is raised."""


class StaleError(PermanentError):
    """No run has succeeded for longer than the operator allows."""


class LockedError(TransientError):
    """Another process holds the promotion lock."""
