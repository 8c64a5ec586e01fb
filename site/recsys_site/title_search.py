"""Search by title: words, words written together or apart, and words with typos.

PostgreSQL's pg_trgm is an extension that an administrator must install; the site reads the
database with an account that may only select. So titles are searched in memory.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from typing import Final

from rapidfuzz import process
from rapidfuzz.distance import OSA

from recsys_site.titles import plain

_MAX_WORDS: Final = 12
"""Words of a text whose typos are corrected; each one is compared with all words of all titles."""
_MAX_TERMS: Final = 40
"""Words of titles that a word with typos may stand for."""
_LEAST_LETTERS: Final = 4
"""A shorter word has no typos: one edit makes another word of it."""
_BAR: Final = "|"
"""Between a name and the other words, and between titles: no match reaches across it."""
_NAME_IS, _BEGINS, _CONTAINS, _PREFIXES = range(4)


@dataclass(frozen=True)
class Found:
    """The titles that a text finds.

    Attributes:
        places: places in the list of titles, best match first.
        approximate: no title contains the words; these contain similar ones.
    """

    places: list[int]
    approximate: bool = False


class TitleSearch:
    """Finds titles.

    Args:
        titles: (name, other words that find it), most popular first.
    """

    def __init__(self, titles: Iterable[tuple[str, str]]) -> None:
        plain_titles = [(plain(name), plain(others)) for name, others in titles]
        self._names: Sequence[str] = [name for name, _ in plain_titles]
        self._texts = _Texts(f" {name} {_BAR} {others} {_BAR}" for name, others in plain_titles)
        self._compact = _Texts(text.replace(" ", "") for text in self._texts.texts)

    def find(self, text: str, count: int) -> Found:
        """Finds titles that contain every word of ``text``, best match first.

        Matches are ranked: the whole name equals the text; the name begins with it; the title
        contains its words, also if one of both writes them as one (``spiderman`` finds
        ``Spider-Man``); the title contains words that begin with them. Within a rank, the most
        popular comes first. If there is none, titles with similar words are found.
        """
        words = plain(text).split()
        if not words:
            return Found([])
        ranks = self._ranked(words)
        if ranks:
            return Found(sorted(ranks, key=lambda place: (ranks[place], place))[:count])
        return Found(self._similar(words)[:count], approximate=True)

    def _ranked(self, words: list[str]) -> dict[int, int]:
        wanted, texts = " ".join(words), self._texts.texts
        ranks: dict[int, int] = {}
        for place in set.intersection(*(self._texts.places(f" {word}") for word in words)):
            text = texts[place]
            if text.startswith(f" {wanted} "):
                ranks[place] = _NAME_IS if self._names[place] == wanted else _BEGINS
            elif all(f" {word} " in text for word in words):
                ranks[place] = _CONTAINS
            else:
                ranks[place] = _PREFIXES
        whole = "".join(words)
        begins = re.compile(_spaced(whole))
        joined = self._spelled(whole)
        if len(words) > 1:
            joined |= set.intersection(*(self._spelled(word) for word in words))
        for place in joined:
            rank = _BEGINS if begins.match(texts[place]) else _CONTAINS
            ranks[place] = min(ranks.get(place, rank), rank)
        return ranks

    def _spelled(self, letters: str) -> set[int]:
        """Finds titles with one or more neighboring words that spell ``letters`` together."""
        if len(letters) < _LEAST_LETTERS:
            # Most titles contain these letters, few as words of their own.
            spellings = product(*([("", " ")] * (len(letters) - 1)))
            return set().union(
                *(self._texts.places(f" {_with_gaps(letters, gaps)} ") for gaps in spellings)
            )
        pattern = re.compile(_spaced(letters))
        found = self._compact.places(letters)
        return {place for place in found if pattern.search(self._texts.texts[place])}

    def _similar(self, words: list[str]) -> list[int]:
        """Finds titles with a similar word for each word, least edits first."""
        found: dict[int, int] = {}
        for number, word in enumerate(words[:_MAX_WORDS]):
            near = self._near(word)
            if number:
                near = {place: found[place] + near[place] for place in found.keys() & near}
            found = near
            if not found:
                break
        if len(words) > 1:
            # The text writes a word of the title as two.
            for place, edits in self._near("".join(words)).items():
                found[place] = min(edits, found.get(place, edits))
        return sorted(found, key=lambda place: (found[place], place))

    def _near(self, word: str) -> dict[int, int]:
        """Returns least edits from the word to a term of the title, by place."""
        if len(word) < _LEAST_LETTERS:
            return dict.fromkeys(self._spelled(word), 0)
        terms = process.extract(
            word,
            self._terms,
            scorer=OSA.distance,
            processor=None,
            score_cutoff=_allowed_edits(word),
            limit=_MAX_TERMS,
        )
        edits: dict[int, int] = {}
        for term, distance, _ in terms:  # fewest edits first
            for place in self._spelled(term):
                edits.setdefault(place, int(distance))
        return edits

    @cached_property
    def _terms(self) -> list[str]:
        """All words of all titles, and all pairs of neighboring words as one."""
        words = " ".join(self._texts.texts).split()
        terms = {*words, *(a + b for a, b in pairwise(words) if _BAR not in (a, b))} - {_BAR}
        return sorted(terms)


class _Texts:
    """Finds the texts that contain a fragment, by one search in all of them.

    Args:
        texts: without line breaks.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts: Sequence[str] = list(texts)
        self._all = "\n".join(self.texts)
        self._starts = list(_starts(self.texts))

    def places(self, fragment: str) -> set[int]:
        """Returns the places of the texts that contain the fragment."""
        found: set[int] = set()
        at = self._all.find(fragment)
        while at >= 0:
            place = bisect_right(self._starts, at) - 1
            found.add(place)
            # On to the next text.
            at = self._all.find(fragment, self._starts[place] + len(self.texts[place]))
        return found


def _starts(texts: Sequence[str]) -> Iterator[int]:
    start = 0
    for text in texts:
        yield start
        start += len(text) + 1


def _allowed_edits(word: str) -> int:
    """Returns how many typos a word of `_LEAST_LETTERS` or more may have."""
    return 1 if len(word) < 8 else 2


def _with_gaps(letters: str, gaps: Sequence[str]) -> str:
    return letters[0] + "".join(gap + letter for gap, letter in zip(gaps, letters[1:], strict=True))


def _spaced(letters: str) -> str:
    """Returns a pattern of whole words that spell ``letters`` together."""
    return " " + " ?".join(map(re.escape, letters)) + "(?= )"
