"""Errors of the domain: permanent ones fail at once, transient ones are worth another try.

Every message says what was found, what was expected, and what to do about it.
"""

from __future__ import annotations


class RecsysError(Exception):
    """Base of all errors that the domain raises on purpose.

    Args:
        message: what went wrong, in one sentence.
        found: what was there.
        expected: what should have been there.
        hint: what the reader can do about it.
    """

    def __init__(
        self, message: str, *, found: object = None, expected: object = None, hint: str = ""
    ) -> None:
        self.message = message
        self.found = None if found is None else _shorten(found)
        self.expected = None if expected is None else _shorten(expected)
        self.hint = hint
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


def _shorten(value: object, limit: int = 200) -> str:
    """Makes a value from outside safe for one line of a log: printable and bounded."""
    text = value if isinstance(value, str) else repr(value)
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


class PermanentError(RecsysError):
    """Trying again cannot help: bad data, bad configuration, a broken artifact."""


class TransientError(RecsysError):
    """Trying again later may help: a server that is down, a lock that is held."""


class ConfigurationError(PermanentError):
    """A setting is missing or makes no sense."""


class DatasetError(PermanentError):
    """The dataset, its md5 or its archive is not what it should be."""


class ArtifactError(PermanentError):
    """A stored file is missing, changed, or not what its manifest says."""


class TrainingError(PermanentError):
    """The trainer refused its input or ended without a manifest."""


class EvaluationError(PermanentError):
    """What a candidate saved cannot be measured: pairs are missing, doubled or not numbers."""


class VectorError(PermanentError):
    """Vectors have a wrong dimension, count or value, or their index does not answer well."""


class UnknownIdError(PermanentError):
    """There is no vector for the user or movie that was asked for."""


class LedgerError(PermanentError):
    """The ledger refuses what was asked: an unknown release, a move that is not allowed."""


class SourceUnreachableError(TransientError):
    """The dataset's source does not answer; this is never the same as "unchanged"."""


class ServiceUnavailableError(TransientError):
    """PostgreSQL, S3 or another server that the pipeline needs does not answer."""


class DiskFullError(TransientError):
    """The disk for temporary files is full; others may free it before the next try."""


class StaleError(PermanentError):
    """No run has ended well for longer than the operator allows."""


class LockedError(TransientError):
    """Someone else holds the promotion lock."""
