"""Settings: explicit values take precedence over the environment."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from recsys.contract import SECRET_ENV, BuildSettings, FeatureSettings, TrainerSettings
from recsys.database import PostgresSettings
from recsys.errors import ConfigurationError
from recsys.gate import GateSettings
from recsys.object_store import S3Settings
from recsys.releases import RetentionSettings
from recsys.services import Services

VARIABLES = {
    "RECSYS_S3_BUCKET": "from-environment",
    "RECSYS_S3_ENDPOINT": "http://environment:9000",
    "RECSYS_S3_REGION": "eu-west-1",
    "RECSYS_S3_MAX_ATTEMPTS": "3",
    "AWS_ACCESS_KEY_ID": "id-of-environment",
    "AWS_SECRET_ACCESS_KEY": "hush-of-environment",
    "RECSYS_PG_DSN": "postgresql://u:hush@environment/x",
    "RECSYS_PG_CONNECT_TIMEOUT": "7",
}


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, empty_environment: None) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


def secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value else None


def test_the_environment_is_read_only_when_settings_are_created(
    environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3, postgres = S3Settings(), PostgresSettings()
    for name in VARIABLES:
        monkeypatch.delenv(name)
    assert s3.bucket == "from-environment"
    assert s3.endpoint == "http://environment:9000"
    assert s3.region == "eu-west-1"
    assert s3.max_attempts == 3
    assert secret(s3.access_key) == "id-of-environment"
    assert secret(s3.secret_key) == "hush-of-environment"
    assert secret(postgres.dsn) == "postgresql://u:hush@environment/x"
    assert postgres.connect_timeout == 7
    with pytest.raises(ValidationError, match="bucket"):
        S3Settings()


@pytest.mark.parametrize("create", [lambda s: S3Settings(**s), S3Settings.model_validate])
def test_explicit_values_take_precedence_over_the_environment(
    environment: None, create: Any
) -> None:
    values = {
        "bucket": "explicit",
        "endpoint": "http://explicit:9000",
        "region": "explicit-1",
        "access_key": "id-explicit",
        "secret_key": "hush-explicit",
        "max_attempts": 1,
    }
    s3 = create(values)
    assert (s3.bucket, s3.endpoint, s3.region, s3.max_attempts) == (
        *("explicit", "http://explicit:9000", "explicit-1"),
        1,
    )
    assert (secret(s3.access_key), secret(s3.secret_key)) == ("id-explicit", "hush-explicit")


def test_an_explicit_none_takes_precedence_too(environment: None) -> None:
    assert S3Settings(endpoint=None).endpoint is None


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_an_empty_variable_counts_as_unset(
    environment: None, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # `FOO: ${FOO:-}` in a compose file.
    monkeypatch.setenv(name, "")
    if name in ("RECSYS_S3_BUCKET", "RECSYS_PG_DSN"):
        with pytest.raises(ConfigurationError, match="Field required"):
            Services.from_environment()
        return
    services = Services.from_environment()
    monkeypatch.delenv(name)
    assert services == Services.from_environment()


def test_a_missing_variable_is_reported_with_all_required_ones() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        Services.from_environment()
    for name in ("PostgresSettings.dsn", "RECSYS_PG_DSN", "RECSYS_S3_BUCKET", "AWS_"):
        assert name in str(refusal.value)


SECRETS = {"access_key": "AKIDHUSH", "secret_key": "hush-hush"}


def all_representations(value: object) -> str:
    record = logging.LogRecord("x", logging.INFO, "x", 1, "%s %r", (value, value), None)
    shown = [str(value), repr(value), f"{value}", record.getMessage(), str([value])]
    if isinstance(value, BaseModel):
        shown += [value.model_dump_json(), str(value.model_dump())]
    return " ".join(shown)


def test_secrets_are_not_shown_by_settings_or_services() -> None:
    s3 = S3Settings.model_validate({"bucket": "bucket", **SECRETS})
    postgres = PostgresSettings(dsn=SecretStr("postgresql://u:hush-pg@h/x"))
    for value in (s3, postgres, Services(postgres, s3)):
        shown = all_representations(value)
        assert not [text for text in (*SECRETS.values(), "hush-pg") if text in shown]


@pytest.mark.parametrize(
    "wrong",
    [{}, {"bucket": "ab"}, {"bucket": "bucket", "max_attempts": "many"}, {"secret_key": ["hush"]}],
)
def test_validation_errors_do_not_show_secrets(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refusal:
        S3Settings.model_validate({**SECRETS, **wrong})
    assert "hush" not in str(refusal.value).lower()
    assert "AKID" not in str(refusal.value)


def test_settings_can_be_pickled() -> None:
    s3 = S3Settings.model_validate({"bucket": "bucket", **SECRETS})
    assert pickle.loads(pickle.dumps(s3)) == s3  # noqa: S301  trusted bytes


MODELS = [
    *(BuildSettings, FeatureSettings, GateSettings),
    *(RetentionSettings, TrainerSettings),
]


@pytest.mark.parametrize("kind", MODELS)
def test_settings_are_frozen_and_reject_unknown_names(kind: type[BaseModel]) -> None:
    with pytest.raises(ValidationError, match="not permitted"):
        kind.model_validate({"no_such_setting": 1})
    name = next(iter(kind.model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(kind(), name, 1)


def test_build_settings_can_be_serialized_as_json() -> None:
    settings = BuildSettings(
        features=FeatureSettings(holdout_share=0.2),
        trainer=TrainerSettings(seed=3, overrides={"rating": {"epochs": 2}}),
    )
    plain = settings.model_dump(mode="json")
    assert BuildSettings.model_validate(plain) == settings
    assert plain["trainer"] == {"seed": 3, "overrides": {"rating": {"epochs": 2}}}


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (FeatureSettings, "holdout_share", 0),
        (FeatureSettings, "holdout_share", 0.5),
        (FeatureSettings, "holdout_share", float("nan")),
        (FeatureSettings, "vector_dim", 64),
        (FeatureSettings, "max_quarantine_share", 1.1),
        (TrainerSettings, "seed", -1),
        (GateSettings, "max_ndcg", -0.1),
        (GateSettings, "min_coverage", 1.1),
        (GateSettings, "max_rmse_rise", -0.1),
        (GateSettings, "max_ndcg_drop", -0.1),
        (RetentionSettings, "keep_releases", -1),
        (RetentionSettings, "abandon_after_hours", 0),
    ],
)
def test_an_invalid_setting_is_rejected(kind: type[BaseModel], name: str, value: float) -> None:
    with pytest.raises(ValidationError, match=name):
        kind.model_validate({name: value})


def test_a_mapping_is_read_in_place_of_the_environment(environment: None) -> None:
    s3 = S3Settings.from_environment(
        {"RECSYS_S3_BUCKET": "from-mapping", "RECSYS_S3_ENDPOINT": "", "AWS_ACCESS_KEY_ID": "id"}
    )
    assert (s3.bucket, s3.endpoint, s3.region, s3.max_attempts) == (
        *("from-mapping", None, "us-east-1"),
        8,
    )
    assert (secret(s3.access_key), secret(s3.secret_key)) == ("id", None)


@pytest.mark.parametrize("variables", [None, {}, {"RECSYS_S3_BUCKET": "ab"}])
def test_invalid_s3_settings_are_refused_with_the_variables_to_set(
    variables: dict[str, str] | None,
) -> None:
    with pytest.raises(ConfigurationError, match="RECSYS_S3_BUCKET") as refusal:
        S3Settings.from_environment(variables)
    assert "S3Settings.bucket: " in str(refusal.value.found)


IDENTITY = {
    "AWS_SESSION_TOKEN": "token-of-environment",
    "AWS_PROFILE": "of-environment",
    "RECSYS_S3_ROLE_ARN": "arn:of-environment",
}


def test_the_token_and_the_role_of_the_environment_belong_to_its_own_keys(
    environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    own = S3Settings()
    assert (secret(own.session_token), own.profile, own.role_arn) == tuple(IDENTITY.values())
    given = S3Settings(access_key=SecretStr("id"), secret_key=SecretStr("hush"))
    assert given.credentials() == {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "hush"}
    with_token = S3Settings.model_validate({**SECRETS, "session_token": "given"})
    assert secret(with_token.session_token) == "given"
    assert with_token.profile is None


def test_what_one_process_passes_on_is_what_the_other_reads() -> None:
    fields = {
        **SECRETS,
        "session_token": "hush-token",
        "role_arn": "arn:aws:iam::1:role/x",
        "role_options": {"ExternalId": "ours"},
        "sts_endpoint": "https://sts.example.org",
    }
    s3 = S3Settings.model_validate({"bucket": "bucket", **fields})
    assert set(s3.credentials()) <= set(SECRET_ENV)
    again = S3Settings.from_environment({"RECSYS_S3_BUCKET": "bucket", **s3.credentials()})
    assert again == s3
    assert "hush" not in all_representations(s3)


@pytest.mark.parametrize(
    ("text", "read"), [("", None), ("false", False), ("True", True), ("/ca.pem", "/ca.pem")]
)
def test_certificates_are_verified_unless_somebody_says_no(text: str, read: object) -> None:
    variables = {"RECSYS_S3_BUCKET": "bucket", "RECSYS_S3_VERIFY": text}
    assert S3Settings.from_environment(variables).verify == read
