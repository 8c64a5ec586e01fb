"""The gate's rule that the trainer's own numbers agree with the measured ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from recsys.gate.judged import JudgedMetrics
from recsys.gate.measures import RuleResult

NAME: Final = "trainer_metrics_agree"
"""The rule; a decision without it is of an edition that measured nothing itself."""
TOLERANCE: Final = 0.001
"""Share of itself by which a number of the trainer may differ from the measured one.

docs/adr/0022-the-examined-does-not-write-its-own-marks.md shows the measurements behind it."""
_SMALL: Final = 0.0005
_FEW: Final = 2
"""The same for numbers near 0, and for counts: a prediction between two numbers of stars may be
rounded to the other one on another machine."""
_SHOWN: Final = 3
_LENGTH: Final = "length"
_OF_CHAMPION: Final = " - champion"


def trainer_metrics_agree(candidate: JudgedMetrics) -> RuleResult | None:
    """Every number that was measured must be in the trainer's metrics, and be the same.

    The comparison with the champion is left out if the trainer compared with another one, which was
    champion when it started. Returns None if nothing was measured.
    """
    if candidate.stated is None:
        return None
    found = list(_differences(candidate))
    names = "; ".join(found[:_SHOWN]) + ("; ..." if len(found) > _SHOWN else "")
    return RuleResult(
        name=NAME,
        value=len(found),
        threshold=0,
        passed=not found,
        reason=f"{len(found)} numbers of the trainer are not the measured ones: {names}"
        if found
        else f"the trainer's metrics are the measured ones, within {TOLERANCE:.1%}",
    )


def _differences(candidate: JudgedMetrics) -> Iterator[str]:
    stated: Mapping[str, Any] = candidate.stated or {}
    measured = candidate.measured or {}
    theirs = (stated.get("champion") or {}) if isinstance(stated.get("champion"), Mapping) else {}
    same_champion = theirs.get("release_id") == (measured.get("champion") or {}).get("release_id")
    for path, value in leaves(measured):
        if not same_champion and _is_about_champion(path):
            continue
        other = _at(stated, path)
        if not (value == other if path[-1] == _LENGTH else _agree(value, other)):
            yield f"{'.'.join(path)[:80]} is {_text(other)}, measured {_text(value)}"


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields path and value of each number, string and null in a document, and lists' lengths."""
    if isinstance(value, Mapping):
        if not value:
            yield (*path, _LENGTH), 0
        for name, one in value.items():
            yield from leaves(one, (*path, str(name)))
    elif isinstance(value, list | tuple):
        yield (*path, _LENGTH), len(value)
        for number, one in enumerate(value):
            yield from leaves(one, (*path, str(number)))
    else:
        yield path, value


def _is_about_champion(path: tuple[str, ...]) -> bool:
    return "champion" in path or any(name.endswith(_OF_CHAMPION) for name in path)


def _at(document: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if name == _LENGTH:
            document = len(document) if isinstance(document, list | tuple | Mapping) else None
        elif isinstance(document, Mapping):
            document = document.get(name)
        elif isinstance(document, list | tuple) and name.isdigit() and int(name) < len(document):
            document = document[int(name)]
        else:
            return None
    return document


def _agree(measured: Any, stated: Any) -> bool:
    if isinstance(measured, str | None | bool):
        return type(measured) is type(stated) and bool(measured == stated)
    if isinstance(stated, bool) or not isinstance(stated, int | float):
        return False
    try:
        near = _FEW if isinstance(measured, int) else _SMALL
        return math.isclose(measured, stated, rel_tol=TOLERANCE, abs_tol=near)
    except OverflowError:  # an integer beyond the range of a float
        return False


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return (
        "missing"
        if value is None
        else ascii(value)[:40]
        if isinstance(value, str)
        else (
            "a very large integer"
            if isinstance(value, int) and abs(value) > 10**15
            else str(value)[:40]
        )
    )
