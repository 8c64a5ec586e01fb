"""Titles of MovieLens in the form that people read: reading order, other titles apart."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

_YEAR: Final = re.compile(r"\s*\((\d{4})\)\s*$")
_ARTICLE: Final = re.compile(
    r"^(?P<name>.+), "
    r"(?P<article>the|a|an|le|la|les|l'|el|los|las|il|lo|das|der|die|den|det|un|une)$",
    re.IGNORECASE,
)
_LAST_PARENTHESIS: Final = re.compile(r"^(?P<name>.*\S)\s*\((?P<other>[^()]+)\)$")
_ALSO_KNOWN_AS: Final = re.compile(r"^(?:a\.?\s?k\.?\s?a\.?|also known as)[\s:]+", re.IGNORECASE)
_PART_OF_THE_NAME: Final = re.compile(
    r"^(?:part|pt\.?|vol\.?|volume|chapter|season|episode|director's cut|extended|uncut|tv|3d)\b",
    re.IGNORECASE,
)
_APOSTROPHE: Final = re.compile("['\u2019]")
_ACCENTS: Final = re.compile("(?<=[a-z])[\u0300-\u036f]+")
_NOT_WORDS: Final = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Title:
    """A title, split into its parts.

    Attributes:
        name: in reading order: ``The Matrix``, not ``Matrix, The (1999)``.
        others: other titles of the movie, such as the original one.
    """

    name: str
    others: tuple[str, ...] = ()


def split_title(text: str) -> Title:
    """Splits a title as stored: ``Seven (a.k.a. Se7en) (1995)`` is ``Seven``, also ``Se7en``.

    Parentheses at the end hold other titles, unless they number a part of the movie. The year is
    dropped.
    """
    name = _YEAR.sub("", text).strip()
    others: list[str] = []
    while (match := _LAST_PARENTHESIS.match(name)) and not _PART_OF_THE_NAME.match(match["other"]):
        other = _reading_order(_ALSO_KNOWN_AS.sub("", match["other"].strip()))
        if other:
            others.append(other)
        name = match["name"]
    return Title(_reading_order(name) or text, tuple(reversed(others)))


def plain(text: str) -> str:
    """Removes case, accents of Latin letters and punctuation: ``amelie`` finds ``Amélie``.

    Other letters remain as they are, in composed form, however text and title were written.
    """
    text = text.casefold()
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = unicodedata.normalize("NFC", _ACCENTS.sub("", decomposed))
    return _NOT_WORDS.sub(" ", _APOSTROPHE.sub("", text)).strip()


def _reading_order(name: str) -> str:
    match = _ARTICLE.match(name)
    if match is None:
        return name
    article = match["article"]
    return f"{article}{'' if article.endswith(chr(39)) else ' '}{match['name']}"
