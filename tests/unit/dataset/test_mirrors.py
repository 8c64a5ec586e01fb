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

PATIENCE = FetchSettings()

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
def test_what_was_joined_is_split_again_whatever_blanks_a_path_holds(
    first: str, others: list[str], between: str
) -> None:
    assert split_sources(between.join([first, *others])) == [first, *others]
    assert split_sources(f" {first}{between}") == [first]


@given(st.text() | st.from_regex(r"\A(https?|s3|file|ftp)://.{0,40}", fullmatch=False))
def test_any_text_names_sources_or_is_a_matter_of_settings(text: str) -> None:
    try:
        found = parse_sources(text, PATIENCE)
    except ConfigurationError:
        return
    assert len(found) == len(split_sources(text))


class _Shown(Exception):
    """What is shown of a source that is one."""


@given(st.sampled_from(["http", "https", "s3", "ftp"]), st.sampled_from(["", "[", ":99999999"]))
def test_no_secret_of_a_url_is_shown(scheme: str, odd: str) -> None:
    source = f"{scheme}://ann:s3cret@host{odd}/ml.zip?key=s3cret#s3cret"
    assert "s3cret" not in redact_sources(source)
    with pytest.raises((ConfigurationError, _Shown)) as caught:
        raise _Shown(parse_sources(source, PATIENCE)[0].shown)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("source", ["", " ", ",", "\n"])
def test_no_source_at_all_is_said(source: str) -> None:
    with pytest.raises(ConfigurationError, match="source is empty"):
        parse_sources(source, PATIENCE)


def test_one_source_fails_with_its_own_error() -> None:
    error = DatasetError("of its own")

    def fail(source: object) -> None:
        raise error

    with pytest.raises(DatasetError) as caught:
        try_sources(parse_sources("/x.zip", PATIENCE), fail)
    assert caught.value is error


@pytest.mark.parametrize("error", [DiskFullError("full"), PermanentError("ours"), OSError("ours")])
def test_what_is_no_fault_of_a_source_is_not_tried_with_the_next(error: Exception) -> None:
    asked: list[object] = []

    def fail(source: object) -> None:
        asked.append(source)
        raise error

    with pytest.raises(type(error)):
        try_sources(parse_sources("/x.zip /y.zip", PATIENCE), fail)
    assert len(asked) == 1


def test_another_try_is_worth_it_if_it_is_for_one_of_them() -> None:
    errors = [ConfigurationError("a"), SourceUnreachableError("b"), DatasetError("c")]

    def fail(source: object) -> None:
        raise errors.pop()

    with pytest.raises(SourceUnreachableError, match="none of the 3") as caught:
        try_sources(parse_sources("/x.zip /y.zip /z.zip", PATIENCE), fail)
    assert caught.value.found == "c; b; a"
