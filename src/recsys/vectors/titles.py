"""Words of titles: movies that share rare ones are alike, and a common stem names a franchise.

Titles are data of strangers: each is cut at `_LONGEST` characters, and all work is linear in that.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import scipy.sparse as sp

_LONGEST: Final = 500
"""Characters of a title that are read; `recsys.features` refuses longer ones."""
MOST_MOVIES: Final = 12
"""Largest number of movies of a word: a rare word names a franchise, a common one does not."""
_WORD: Final = re.compile(r"[^\W_]+")
_APOSTROPHES: Final = str.maketrans("", "", "'\u2019`\u00b4")
_ARTICLES: Final = frozenset(
    "a an the le la les l el los las il lo das der die den det un une".split()
)
_STOP_WORDS: Final = _ARTICLES | frozenset(
    "and at by de del des di du for from i in is it me my no not of off on or out over to und up "
    "we with you your".split()
)
_NUMBERS: Final = frozenset(
    "i ii iii iv v vi vii viii ix x xi xii one two three four five six seven eight nine ten".split()
)
_NUMBERED: Final = frozenset("part pt vol volume episode chapter movie".split())


def main_title(title: str) -> str:
    """Returns a title without year, other titles in parentheses, and an article at its end.

    Case and accents are removed: ``matrix`` for ``Matrix, The (1999)``, ``amelie`` for
    ``Amelie (Fabuleux destin d'Amélie Poulain, Le) (2001)``.
    """
    name = title[:_LONGEST].partition(" (")[0]
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(c for c in decomposed if not unicodedata.combining(c)).strip()
    start, comma, last = plain.rpartition(", ")
    return start if comma and last.translate(_APOSTROPHES) in _ARTICLES else plain


def title_words(title: str) -> list[str]:
    """Returns the words of the main title, in order, with articles and numbers."""
    return _WORD.findall(main_title(title).translate(_APOSTROPHES))


def franchise_stem(title: str) -> str:
    """Returns what the titles of a franchise share: no subtitle, number, year or article.

    ``star trek`` for ``Star Trek II: The Wrath of Khan (1982)``; empty if no word is left.
    """
    name = main_title(title).translate(_APOSTROPHES)
    words = _WORD.findall(name.partition(":")[0].partition(" - ")[0])
    while len(words) > 1 and words[0] in _ARTICLES:
        words.pop(0)
    while len(words) > 1 and (
        words[-1].isnumeric() or words[-1] in _NUMBERS or words[-1] in _NUMBERED
    ):
        words.pop()
    return " ".join(words)


def title_terms(title: str) -> list[str]:
    """Returns the words that may name a franchise, and the pairs of neighbors among them."""
    words = [
        word
        for word in title_words(title)
        if word not in _STOP_WORDS and word not in _NUMBERS and not word.isnumeric()
    ]
    pairs = [f"{first} {second}" for first, second in pairwise(words)]
    return sorted({*words, *pairs})


def title_likeness(titles: Sequence[str | None]) -> sp.csr_matrix:
    """Returns how alike titles are, float32 (titles, titles).

    Two titles are alike if they share terms (`title_terms`) that 2 to `MOST_MOVIES` titles have: by
    the squared cosine of their sets of such terms. Rows with a sum above 1 are scaled to 1; the
    diagonal is 0.
    """
    rows = _rare_terms(titles)
    alike: sp.csr_matrix = (rows.T @ rows).tocsr()
    alike.setdiag(0)
    alike.eliminate_zeros()
    alike.data = np.square(alike.data)
    total = np.asarray(alike.sum(axis=1)).ravel()
    alike.data /= np.repeat(np.maximum(total, 1), np.diff(alike.indptr))
    return alike


def _rare_terms(titles: Sequence[str | None]) -> sp.csr_matrix:
    """Returns rare terms by title, float32 (terms, titles); columns have length 1 or 0."""
    terms = [title_terms(title) if title else [] for title in titles]
    counts = Counter(_flatten(terms))
    names = sorted(term for term, n in counts.items() if 2 <= n <= MOST_MOVIES)
    row_of = {name: row for row, name in enumerate(names)}
    places = [
        (row_of[term], column) for column, own in enumerate(terms) for term in own if term in row_of
    ]
    row, column = np.array(places, np.int32).reshape(-1, 2).T
    length = np.sqrt(np.bincount(column, minlength=len(titles)))
    values = (1 / length[column]).astype(np.float32)
    return sp.csr_matrix((values, (row, column)), shape=(len(names), len(titles)))


def _flatten(lists: Iterable[list[str]]) -> Iterable[str]:
    return (item for items in lists for item in items)
