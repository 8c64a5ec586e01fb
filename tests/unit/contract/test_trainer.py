"""What the trainer is given, and how it ends."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys import contract
from recsys.contract import (
    ExitCode,
    TrainerInput,
)
from tests.contract_values import (
    OTHER,
    RELEASE,
    build,
    builds,
    law,
)

printable = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=3)
inputs = st.builds(
    TrainerInput,
    build=builds,
    run_nonce=st.from_regex(r"[0-9A-Za-z-]{8,64}", fullmatch=True),
    s3_bucket=printable,
    s3_endpoint=st.none() | printable,
    s3_region=printable,
    s3_prefix=st.sampled_from(["", "books/", "team-a/books_2/"]),
    xcom_dir=printable,
)


@law
@given(inputs)
def test_the_trainers_input_survives_a_round_trip_through_the_environment(
    given_input: TrainerInput,
) -> None:
    environment = given_input.to_environment()
    assert TrainerInput.from_environment(environment) == given_input
    assert not set(environment) & set(contract.SECRET_ENV)
    # exec refuses a variable with a zero byte.
    assert not any("\x00" in value for value in environment.values())


ENVIRONMENT = TrainerInput(
    build=build(number=1), run_nonce="n" * 8, s3_bucket="bucket"
).to_environment()


@pytest.mark.parametrize(
    "name", ["RECSYS_BUILD", "RECSYS_RELEASE_ID", "RECSYS_RUN_NONCE", "RECSYS_S3_BUCKET"]
)
def test_the_error_names_a_missing_variable(name: str) -> None:
    environment = {key: value for key, value in ENVIRONMENT.items() if key != name}
    with pytest.raises(KeyError, match=name):
        TrainerInput.from_environment(environment)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RECSYS_BUILD", "{}"),
        ("RECSYS_BUILD", "not json"),
        ("RECSYS_RELEASE_ID", OTHER.release_id),
        ("RECSYS_RELEASE_ID", ""),
        ("RECSYS_RUN_NONCE", "short"),
        ("RECSYS_RUN_NONCE", "$(touch x)"),
        ("RECSYS_S3_BUCKET", "ab"),
    ],
)
def test_a_variable_with_an_invalid_value_is_rejected(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"validation error|RECSYS_RELEASE_ID is not"):
        TrainerInput.from_environment({**ENVIRONMENT, name: value})


@pytest.mark.parametrize("number", ["", "1", "2", "4", "two"])
def test_a_pipeline_of_another_contract_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match=f"the pipeline fulfills contract {number or 1} "):
        TrainerInput.from_environment({**ENVIRONMENT, "RECSYS_CONTRACT": number})


def test_a_trainer_that_knows_no_prefix_refuses_a_pipeline_with_one() -> None:
    # A trainer of contract 3 accepts only this number, and would ignore the prefix.
    assert ENVIRONMENT["RECSYS_CONTRACT"] == "3"
    prefixed = TrainerInput.from_environment(ENVIRONMENT).model_copy(update={"s3_prefix": "b/"})
    variables = prefixed.to_environment()
    assert variables["RECSYS_CONTRACT"] == "4"
    assert TrainerInput.from_environment(variables) == prefixed
    with pytest.raises(ValueError, match=r"the pipeline fulfills contract 3 .* this trainer 4"):
        TrainerInput.from_environment({**variables, "RECSYS_CONTRACT": "3"})


def test_the_releases_of_a_forward_test_are_passed_on_and_checked() -> None:
    asked = TrainerInput.from_environment({**ENVIRONMENT, "RECSYS_FORWARD": f"{RELEASE},{RELEASE}"})
    assert asked.forward == (RELEASE, RELEASE)
    assert TrainerInput.from_environment(asked.to_environment()) == asked
    with pytest.raises(ValueError, match="validation error"):
        TrainerInput.from_environment({**ENVIRONMENT, "RECSYS_FORWARD": "../../x"})


def test_optional_variables_have_defaults() -> None:
    optional = {"RECSYS_S3_ENDPOINT", "RECSYS_S3_REGION", "RECSYS_XCOM_DIR"}
    least = {key: value for key, value in ENVIRONMENT.items() if key not in optional}
    assert TrainerInput.from_environment(least).to_environment() == ENVIRONMENT
    # Compose and Kubernetes give an unset variable as an empty one.
    assert TrainerInput.from_environment({**least, "RECSYS_S3_ENDPOINT": ""}).s3_endpoint is None


@pytest.mark.parametrize(
    ("code", "transient"),
    [
        (ExitCode.BAD_DATA, False),
        (ExitCode.INTERNAL, False),
        (ExitCode.UNAVAILABLE, True),
        (ExitCode.BAD_CONFIG, False),
        (ExitCode.TERMINATED, True),
        (1, False),
        (2, False),
        (127, False),
        (128, False),
        (128 + signal.SIGKILL, True),
        (-signal.SIGKILL, True),
        (-signal.SIGSEGV, True),
    ],
)
def test_an_exit_code_is_transient_if_a_retry_may_succeed(code: int, transient: bool) -> None:
    assert contract.exit_is_transient(code) is transient


def test_an_exit_code_is_transient_by_number_if_it_is_by_name() -> None:
    for code in ExitCode:
        assert contract.exit_is_transient(int(code)) is code.is_transient
        assert 0 <= code < 256
