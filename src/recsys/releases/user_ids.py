"""Decodes stored files as far as to tell which users they name.

Where a number stands decides whether it is a user: a movie, a count or a port may have the same
number. Only in lines that nobody could parse, each number counts.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Set
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import polars as pl

from recsys.contract import LARGEST_ID
from recsys.dataset import MOVIES_CSV
from recsys.features import whole_numbers

_USER_COLUMNS: Final = frozenset(
    {"userid", "userids", "user", "uid", "memberid", "customerid", "accountid"}
)
"""Names of the column of users without blanks, lines and points; see `features.validation`."""
_NUMBER: Final = rf"[0-9]{{1,{len(str(LARGEST_ID))}}}"
_NAMED: Final = re.compile(
    r"\busers?(?:[ _-]?ids?)?[\"']?\s{0,3}[:=#(\[]?\s{0,3}[\"']?"
    rf"({_NUMBER}(?:,\s?{_NUMBER})*)\b",
    re.IGNORECASE,
)
_ROW_NUMBERS: Final = "user_row_number"
_TEXTS: Final = frozenset({".html", ".log", ".txt", ".md", ".svg", ""})
_DOCUMENTS: Final = frozenset({".json", ".sig"})
_HEADERLESS: Final = frozenset({".dat", ".data", ".item", ".user", ".genre"})
_OF_USERS: Final = frozenset({"ratings", "tags", "users"})


class UndecodableError(Exception):
    """A file of a form that nothing here can read, so that nobody knows whom it names."""


def user_ids(name: str, path: Path) -> Iterator[Set[int]]:
    """Yields the ids of the users whom a file names.

    Args:
        name: its key, whose end tells its form.
        path: the file.

    Raises:
        UndecodableError: its form is unknown, or it is damaged.
    """
    suffix = PurePosixPath(name).suffix.lower()
    decode = _DECODERS.get(suffix)
    if decode is None:
        raise UndecodableError(f"no decoder for {suffix or 'a name without an ending'}")
    try:
        yield from decode(name, path)
    except UndecodableError:
        raise
    # Whatever a library raises for a damaged file.
    except Exception as error:
        # Its text may quote the content, which must not get into a log or a certificate.
        raise UndecodableError(type(error).__name__) from None


def ids_in_text(text: str) -> set[int]:
    """Returns the numbers that a text calls users, such as ``user 5`` or ``userId=5``."""
    return {int(n) for found in _NAMED.findall(text) for n in re.findall(_NUMBER, found)}


def ids_in_document(document: Any) -> set[int]:
    """Returns the ids of users in a JSON document, also in its texts."""
    found: set[int] = set()
    if isinstance(document, dict):
        for key, value in document.items():
            if _plain(str(key)) in _USER_COLUMNS:
                found |= _whole_numbers(value)
            found |= ids_in_document(value)
            found |= ids_in_text(str(key))
    elif isinstance(document, list):
        # Long lists are of numbers; those with a meaning are found by their key.
        for each in document:
            if isinstance(each, (dict, list, str)):
                found |= ids_in_document(each)
    elif isinstance(document, str):
        found |= ids_in_text(document)
    return found


def _plain(name: str) -> str:
    return re.sub(r"[ _.-]", "", name.casefold())


def _whole_numbers(value: Any) -> set[int]:
    if isinstance(value, list):
        return {each for each in value if isinstance(each, int) and not isinstance(each, bool)}
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return {int(value[:20])}
    return {value} if isinstance(value, int) and not isinstance(value, bool) else set()


def _text(name: str, path: Path) -> Iterator[Set[int]]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            yield ids_in_text(line)


def _document(name: str, path: Path) -> Iterator[Set[int]]:
    yield ids_in_document(json.loads(path.read_bytes()))


def _parquet(name: str, path: Path) -> Iterator[Set[int]]:
    table = pl.scan_parquet(path)
    schema = table.collect_schema()
    of_users = "user" in PurePosixPath(name).name
    for column, dtype in schema.items():
        if dtype.is_integer() and (
            _plain(column) in _USER_COLUMNS or (of_users and column == "id")
        ):
            ids = table.select(pl.col(column).unique()).collect(engine="streaming")[column]
            yield set(ids.drop_nulls().to_list())
    if "text" in schema and "file" in schema:
        # Quarantine: lines of ratings.csv that could not be parsed.
        lines = table.filter(pl.col("file").cast(pl.String) != MOVIES_CSV).select("text").collect()
        for line in lines["text"].drop_nulls():
            yield whole_numbers(line.encode())


def _csv(name: str, path: Path) -> Iterator[Set[int]]:
    """Yields the column of users, one field of each line, however its quotes are placed."""
    table = pl.scan_csv(
        path,
        infer_schema=False,
        truncate_ragged_lines=True,
        encoding="utf8-lossy",
        quote_char=None,
    )
    columns = [
        name for name in table.collect_schema() if _plain(name.strip("\"' ")) in _USER_COLUMNS
    ]
    for column in columns:
        fields = table.select(pl.col(column).unique()).collect(engine="streaming")[column]
        yield {int(n) for field in fields.drop_nulls() for n in re.findall(_NUMBER, field)}
    if not columns and PurePosixPath(name).name != MOVIES_CSV:
        yield from _text(name, path)


def _lines_without_header(name: str, path: Path) -> Iterator[Set[int]]:
    """Yields the first number of each line of MovieLens' older files, if that is the user."""
    if PurePosixPath(name).stem not in _OF_USERS and not name.endswith((".data", ".user")):
        yield from _text(name, path)
        return
    with path.open("rb") as lines:
        for line in lines:
            yield whole_numbers(re.split(rb"::|\t|\|", line, maxsplit=1)[0])


def _zip(name: str, path: Path) -> Iterator[Set[int]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.is_dir():
                continue
            part = path.with_name(f"{path.name}.member")
            with archive.open(member) as source, part.open("wb") as target:
                while chunk := source.read(1 << 20):
                    target.write(chunk)
            try:
                yield from user_ids(f"{name}/{member.filename}", part)
            finally:
                part.unlink()


def _model(name: str, path: Path) -> Iterator[Set[int]]:
    """Yields the users of a model's lookup: a vocabulary, or a table of row numbers.

    In the table, which `trainer.rating.folded` makes of ids below 2**24, the place of a row number
    is the id.
    """
    import h5py

    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        weights = io.BytesIO(archive.read("model.weights.h5"))
    known = _vocabulary(config)
    with h5py.File(weights) as file:
        for layer in file.get("layers", {}).values():
            values = layer.get("vars")
            if values is not None and values.attrs.get("name") == _ROW_NUMBERS and "0" in values:
                known |= set(np.flatnonzero(values["0"][:, 0]).tolist())
    if not known:
        raise UndecodableError("no lookup of users was found in this model")
    yield known


def _vocabulary(config: Any) -> set[int]:
    """Returns the vocabularies of the layers whose names begin with ``user``."""
    if isinstance(config, list):
        return set().union(*map(_vocabulary, config))
    if not isinstance(config, dict):
        return set()
    own = _whole_numbers(config.get("vocabulary"))
    if not str(config.get("name", "")).startswith("user"):
        own = set()
    return own.union(*map(_vocabulary, config.values()))


def _arrays(name: str, path: Path) -> Iterator[Set[int]]:
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            array = arrays[key]
            if "user" in key and array.ndim == 1 and array.dtype.kind in "iu":
                yield set(array.tolist())


_DECODERS: Final[dict[str, Callable[[str, Path], Iterator[Set[int]]]]] = {
    ".zip": _zip,
    ".csv": _csv,
    ".parquet": _parquet,
    ".keras": _model,
    ".npz": _arrays,
    **dict.fromkeys(_DOCUMENTS, _document),
    **dict.fromkeys(_TEXTS, _text),
    **dict.fromkeys(_HEADERLESS, _lines_without_header),
}
