"""Errors state what was found, what was expected and what to do, in one printable line."""

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

no_deadline = hypothesis_settings(deadline=None)  # the machine may be loaded


def subclasses(base: type[RecsysError] = RecsysError) -> Iterator[type[RecsysError]]:
    """Yields all subclasses of ``base`` in the module."""
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
            yield from subclasses(kind)


KINDS = sorted(set(subclasses()), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_documented_and_either_permanent_or_transient(
    kind: type[RecsysError],
) -> None:
    assert issubclass(kind, PermanentError) != issubclass(kind, TransientError)
    assert kind.__doc__


@pytest.mark.parametrize("kind", KINDS)
def test_the_exit_code_is_75_if_a_retry_may_succeed(kind: type[RecsysError]) -> None:
    assert exit_code(kind("it broke")) == (75 if issubclass(kind, TransientError) else 1)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({}, "it broke"),
        ({"found": 3}, "it broke; found: 3"),
        ({"found": 0}, "it broke; found: 0"),
        ({"found": ""}, "it broke; found: "),
        ({"expected": "four"}, "it broke; expected: four"),
        ({"hint": "repair it"}, "it broke; what to do: repair it"),
        (
            {"found": [3], "expected": 4, "hint": "repair it"},
            "it broke; found: [3]; expected: 4; what to do: repair it",
        ),
    ],
)
def test_the_message_contains_only_the_parts_that_are_set(
    parts: dict[str, object], text: str
) -> None:
    assert str(RecsysError("it broke", **parts)) == text  # type: ignore[arg-type]  # by name


@no_deadline
@given(st.text(max_size=400), st.text(max_size=400))
def test_external_text_becomes_one_printable_line_of_bounded_length(
    found: str, expected: str
) -> None:
    error = RecsysError("it broke", found=found, expected=expected)
    assert str(error).isprintable()
    for original, shown in ((found, error.found), (expected, error.expected)):
        assert shown is not None
        assert len(shown) == min(len(original), 200)
        if len(original) <= 200 and original.isprintable():
            assert shown == original


def test_escape_sequences_are_removed() -> None:
    assert "\x1b" not in str(RecsysError("it broke", found="\x1b[2J", expected="\x1b]0;title\x07"))


def through_pickle(error: RecsysError) -> RecsysError:
    read: RecsysError = pickle.loads(pickle.dumps(error))  # noqa: S301  trusted bytes
    return read


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("again", [copy.copy, through_pickle])
def test_an_error_keeps_its_message_when_it_is_copied_or_pickled(
    kind: type[RecsysError], again: Callable[[RecsysError], RecsysError]
) -> None:
    error = kind("it broke", found="3", expected="4", hint="repair it")
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
