from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.dataset import FetchSettings, redact_sources, split_sources
from recsys.dataset.mirrors import parse_sources, try_sources
from recsys.errors import (
    ConfigurationError,
    DatasetError,
    DiskFullError,
    PermanentError,
    SourceUnreachableError,
)

SETTINGS = FetchSettings()

first_sources = st.sampled_from(
    ["https://a/ml.zip", "s3://b/k.zip", "/data/my films.zip", "my films, old.zip", "~/x.zip"]
)
further = st.sampled_from(
    ["https://a/ml.zip?u=1,2", "s3://b/k.zip", "/data/my films.zip", "file:///x%20y.zip"]
)


@given(
    first_sources,
    st.lists(further, max_size=3),
    st.sampled_from([" ", "\n", ",", ", ", "\r\n", " ,\t"]),
)
def test_sources_are_split_even_if_paths_contain_blanks(
    first: str, others: list[str], between: str
) -> None:
    assert split_sources(between.join([first, *others])) == [first, *others]
    assert split_sources(f" {first}{between}") == [first]


@given(st.text() | st.from_regex(r"\A(https?|s3|file|ftp)://.{0,40}", fullmatch=False))
def test_any_text_is_either_parsed_or_a_configuration_error(text: str) -> None:
    try:
        found = parse_sources(text, SETTINGS)
    except ConfigurationError:
        return
    assert len(found) == len(split_sources(text))


class _Shown(Exception):
    """Carries the shown name of a valid source."""


@given(st.sampled_from(["http", "https", "s3", "ftp"]), st.sampled_from(["", "[", ":99999999"]))
def test_the_secrets_in_a_url_are_never_shown(scheme: str, odd: str) -> None:
    source = f"{scheme}://ann:s3cret@host{odd}/ml.zip?key=s3cret#s3cret"
    assert "s3cret" not in redact_sources(source)
    with pytest.raises((ConfigurationError, _Shown)) as caught:
        raise _Shown(parse_sources(source, SETTINGS)[0].shown)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("source", ["", " ", ",", "\n"])
def test_an_empty_source_is_rejected(source: str) -> None:
    with pytest.raises(ConfigurationError, match="source is empty"):
        parse_sources(source, SETTINGS)


def test_a_single_source_fails_with_its_own_error() -> None:
    error = DatasetError("its own error")

    def fail(source: object) -> None:
        raise error

    with pytest.raises(DatasetError) as caught:
        try_sources(parse_sources("/x.zip", SETTINGS), fail)
    assert caught.value is error


@pytest.mark.parametrize(
    "error", [DiskFullError("full"), PermanentError("not the source"), OSError("not the source")]
)
def test_an_error_that_is_not_caused_by_the_source_is_not_tried_with_the_next(
    error: Exception,
) -> None:
    attempts: list[object] = []

    def fail(source: object) -> None:
        attempts.append(source)
        raise error

    with pytest.raises(type(error)):
        try_sources(parse_sources("/x.zip /y.zip", SETTINGS), fail)
    assert len(attempts) == 1


def test_the_error_is_transient_if_one_of_the_sources_may_recover() -> None:
    errors = [ConfigurationError("a"), SourceUnreachableError("b"), DatasetError("c")]

    def fail(source: object) -> None:
        raise errors.pop()

    with pytest.raises(SourceUnreachableError, match="none of the 3") as caught:
        try_sources(parse_sources("/x.zip /y.zip /z.zip", SETTINGS), fail)
    assert caught.value.found == "c; b; a"
