"""Errors say what was found, expected and what to do, in one safe line, and how to go on."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

from recsys import errors
from recsys.cli.output import exit_code
from recsys.errors import PermanentError, RecsysError, TransientError

law = hypothesis_settings(deadline=None)  # a loaded machine is no failure


def kinds(base: type[RecsysError] = RecsysError) -> Iterator[type[RecsysError]]:
    """All errors below ``base`` that the module defines."""
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
            yield from kinds(kind)


KINDS = sorted(set(kinds()), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_either_permanent_or_transient_and_says_when_it_is_raised(
    kind: type[RecsysError],
) -> None:
    assert issubclass(kind, PermanentError) != issubclass(kind, TransientError)
    assert kind.__doc__


@pytest.mark.parametrize("kind", KINDS)
def test_a_command_ends_with_75_where_another_try_may_help(kind: type[RecsysError]) -> None:
    assert exit_code(kind("it broke")) == (75 if issubclass(kind, TransientError) else 1)


@pytest.mark.parametrize(
    ("given_parts", "text"),
    [
        ({}, "it broke"),
        ({"found": 3}, "it broke; found: 3"),
        ({"found": 0}, "it broke; found: 0"),
        ({"found": ""}, "it broke; found: "),
        ({"expected": "four"}, "it broke; expected: four"),
        ({"hint": "mend it"}, "it broke; what to do: mend it"),
        (
            {"found": [3], "expected": 4, "hint": "mend it"},
            "it broke; found: [3]; expected: 4; what to do: mend it",
        ),
    ],
)
def test_an_error_says_what_is_known_and_nothing_else(
    given_parts: dict[str, object], text: str
) -> None:
    assert str(RecsysError("it broke", **given_parts)) == text  # type: ignore[arg-type]  # by name


@law
@given(st.text(max_size=400), st.text(max_size=400))
def test_what_comes_from_outside_is_one_printable_line_of_bounded_length(
    found: str, expected: str
) -> None:
    error = RecsysError("it broke", found=found, expected=expected)
    assert str(error).isprintable()
    for given_text, shown in ((found, error.found), (expected, error.expected)):
        assert shown is not None
        assert len(shown) == min(len(given_text), 200)
        if len(given_text) <= 200 and given_text.isprintable():
            assert shown == given_text


def test_an_escape_sequence_does_not_reach_the_terminal() -> None:
    assert "\x1b" not in str(RecsysError("it broke", found="\x1b[2J", expected="\x1b]0;title\x07"))


def through_pickle(error: RecsysError) -> RecsysError:
    read: RecsysError = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    return read


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("again", [copy.copy, through_pickle])
def test_an_error_that_crosses_to_another_process_says_the_same(
    kind: type[RecsysError], again: Callable[[RecsysError], RecsysError]
) -> None:
    error = kind("it broke", found="3", expected="4", hint="mend it")
    assert (type(again(error)), str(again(error))) == (kind, str(error))


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")

    epochs: int = 1


class _Settings(BaseModel):
    section: _Section = _Section()


@pytest.mark.parametrize(
    ("document", "name", "is_unknown"),
    [
        ("{", "document", False),
        ('{"section": {"epochs": "s3cret"}}', "section.epochs", False),
        ('{"section": {"epoch": "s3cret"}}', "section.epoch", True),
    ],
)
def test_the_first_invalid_field_is_named_without_its_value(
    document: str, name: str, is_unknown: bool
) -> None:
    with pytest.raises(ValidationError) as caught:
        _Settings.model_validate_json(document)
    invalid = errors.first_invalid_field(caught.value)
    assert (invalid.name, invalid.is_unknown) == (name, is_unknown)
    assert str(invalid) == f"{name}: {invalid.message}"
    assert "s3cret" not in str(invalid) + repr(invalid)
    assert invalid.value == ("{" if name == "document" else "s3cret")
