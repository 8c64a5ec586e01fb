"""The S3 Connection: each of its fields beside Airflow's hook, and what the trainer gets of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import certifi
import pytest
from botocore.awsrequest import AWSResponse
from pydantic import SecretStr

from recsys import contract, pipeline
from recsys.database import PostgresSettings
from recsys.errors import ConfigurationError
from recsys.object_store import S3Settings, current_keys
from recsys.object_store.client import open_client
from recsys.services import Services
from recsys.trainer_process import inherited_identity
from tests.sts_server import StsServer, sts_server

VARIABLE = "AIRFLOW_CONN_RECSYS_S3"
BUCKET = {"bucket_name": "releases"}
KEYS = {"login": "AKIDLOGIN", "password": "secret/of+login"}
PROFILE = """\
[profile named]
region = eu-north-1
aws_access_key_id = AKIDPROFILE
aws_secret_access_key = secret-of-profile
aws_session_token = token-of-profile
[default]
aws_access_key_id = AKIDDEFAULT
aws_secret_access_key = secret-of-default
"""
# Each case is a Connection with one thing that a client must get to know.
CASES: dict[str, dict[str, Any]] = {
    "keys": KEYS,
    "keys-in-extra": {
        "extra": {"aws_access_key_id": "AKIDEXTRA", "aws_secret_access_key": "secret-of-extra"}
    },
    "login-before-extra": {
        **KEYS,
        "extra": {"aws_access_key_id": "AKIDEXTRA", "aws_secret_access_key": "secret-of-extra"},
    },
    "login-without-password": {"login": "AKIDALONE"},
    "session-token": {**KEYS, "extra": {"aws_session_token": "token-of-extra"}},
    "session-kwargs": {
        "extra": {
            "session_kwargs": {
                "aws_access_key_id": "AKIDOLD",
                "aws_secret_access_key": "secret-of-old",
                "aws_session_token": "token-of-old",
            }
        }
    },
    "profile": {"extra": {"profile_name": "named"}},
    "profile-and-region": {"extra": {"profile_name": "named", "region_name": "eu-west-3"}},
    "profile-and-keys": {**KEYS, "extra": {"profile_name": "named"}},
    "region": {**KEYS, "extra": {"region_name": "eu-central-1"}},
    "endpoint": {**KEYS, "extra": {"endpoint_url": "https://s3.example.org:9000"}},
    "endpoint-of-the-service": {
        **KEYS,
        "extra": {
            "endpoint_url": "https://aws.example.org",
            "service_config": {"s3": {"endpoint_url": "https://s3.example.org"}},
        },
    },
    "bucket-of-the-service": {
        **KEYS,
        "extra": {"service_config": {"s3": {"bucket_name": "releases"}}, "bucket_name": None},
    },
    "not-verified": {**KEYS, "extra": {"verify": False}},
    "own-certificates": {**KEYS, "extra": {"verify": certifi.where()}},
    "proxies": {
        **KEYS,
        "extra": {"config_kwargs": {"proxies": {"https": "http://u:hush@proxy.example.org"}}},
    },
    "config": {
        **KEYS,
        "extra": {
            "config_kwargs": {
                "connect_timeout": 3,
                "read_timeout": 4,
                "max_pool_connections": 3,
                "retries": {"mode": "adaptive", "total_max_attempts": 2},
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
                "user_agent_extra": "of-config",
                "s3": {"addressing_style": "virtual", "payload_signing_enabled": True},
            }
        },
    },
    "dual-stack": {**KEYS, "extra": {"config_kwargs": {"use_dualstack_endpoint": True}}},
    "old-signature": {**KEYS, "extra": {"config_kwargs": {"signature_version": "s3"}}},
    "anonymous": {"extra": {"config_kwargs": {"signature_version": "unsigned"}}},
    "machine": {},
}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with files of AWS, without instance metadata; returns the folder of the files."""
    (tmp_path / "config").write_text(PROFILE)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # boto3 keeps the session, and so the credentials, of the first client.
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    return tmp_path


@pytest.fixture
def sts() -> Iterator[StsServer]:
    with sts_server() as server:
        yield server


def connect(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> S3Settings:
    """Sets the Connection and reads it."""
    from recsys_dag.connections import s3_settings

    extra = {**BUCKET, **fields.pop("extra", {})}
    monkeypatch.setenv(VARIABLE, json.dumps({"conn_type": "aws", **fields, "extra": extra}))
    return s3_settings()


def the_hooks_client() -> Any:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    return S3Hook(aws_conn_id="recsys_s3").get_conn()


def first_request(client: Any) -> dict[str, Any]:
    """What a client would send, to which server and how; it is not sent."""
    sent: list[Any] = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        sent.append(request)
        return AWSResponse(request.url, 200, {}, None)

    client.meta.events.register("before-send.s3", answer)
    # The answer has no body, which boto3 cannot read.
    with suppress(Exception):
        client.list_buckets()
    [request] = sent
    signed = str(request.headers.get("Authorization", b"unsigned"))
    config = client.meta.config
    return {
        "url": request.url,
        # Without the signature, which contains the time.
        "signed by": signed.partition("Signature=")[0].partition("SignedHeaders=")[0].split(":")[0],
        "token": str(request.headers.get("X-Amz-Security-Token")),
        "region": client.meta.region_name,
        "verify": client._endpoint.http_session._verify,
        "proxies": config.proxies,
    }


def given_config(fields: dict[str, Any], client: Any) -> dict[str, Any]:
    """Those options of a client that the Connection names."""
    given = fields.get("extra", {}).get("config_kwargs", {})
    found = {name: getattr(client.meta.config, name) for name in given}
    if "s3" in given:
        found["s3"] = {name: (found["s3"] or {}).get(name) for name in given["s3"]}
    if "user_agent_extra" in given:
        found["user_agent_extra"] = "of-config" in found["user_agent_extra"]
    return found


@pytest.mark.parametrize("name", CASES)
def test_s3_is_reached_as_airflows_hook_reaches_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    fields = CASES[name]
    settings = connect(monkeypatch, **json.loads(json.dumps(fields)))
    assert settings.bucket == "releases"
    hook, ours = the_hooks_client(), open_client(settings)
    assert first_request(ours) == first_request(hook)
    assert given_config(fields, ours) == given_config(fields, hook)
    if name != "anonymous":
        keys = S3Hook(aws_conn_id="recsys_s3").get_credentials()
        expected = zip(contract.SECRET_ENV[:3], keys[:3], strict=True)
        assert current_keys(settings) == {name: value for name, value in expected if value}


def test_a_role_is_assumed_as_the_hook_assumes_it(
    monkeypatch: pytest.MonkeyPatch, sts: StsServer
) -> None:
    settings = connect(
        monkeypatch,
        **KEYS,
        extra={
            "role_arn": "arn:aws:iam::123456789012:role/pipeline",
            "assume_role_kwargs": {"ExternalId": "ours", "DurationSeconds": 1800},
            "region_name": "eu-west-1",
            "service_config": {"sts": {"endpoint_url": sts.url}},
        },
    )
    by_the_hook = first_request(the_hooks_client())
    assert first_request(open_client(settings))["signed by"] == by_the_hook["signed by"].replace(
        "ASSUMED1", "ASSUMED2"
    )
    # As the trainer, in whose process is no Airflow.
    variables = {contract.ENV_S3_BUCKET: "releases", contract.ENV_S3_REGION: "eu-west-1"}
    trainers = S3Settings.from_environment(
        variables | pipeline.secrets(Services(PostgresSettings(dsn=SecretStr("")), settings))
    )
    assert first_request(open_client(trainers))["token"] == str(b"token-3")
    hook, ours, trainer = sts.requests
    assert ours == hook
    assert trainer == hook
    assert hook["signer"] == KEYS["login"]
    assert (hook["ExternalId"], hook["DurationSeconds"]) == ("ours", "1800")


def test_the_keys_of_a_role_are_renewed_before_they_expire(
    monkeypatch: pytest.MonkeyPatch, sts: StsServer
) -> None:
    """In the pipeline and in the trainer, whose training takes longer than its keys are valid."""
    settings = connect(
        monkeypatch,
        **KEYS,
        extra={
            "role_arn": "arn:aws:iam::123456789012:role/pipeline",
            "service_config": {"sts": {"endpoint_url": sts.url}},
        },
    )
    variables = {contract.ENV_S3_BUCKET: "releases", **settings.credentials()}
    for each in (settings, S3Settings.from_environment(variables)):
        # boto3 renews keys that expire within ten minutes, without waiting for it.
        sts.lifetime = timedelta(minutes=5)
        client = open_client(each)
        before = first_request(client)["token"]
        sts.lifetime = timedelta(hours=1)
        assert first_request(client)["token"] != before


def test_a_web_identity_is_enough_for_pipeline_trainer_and_container(
    monkeypatch: pytest.MonkeyPatch, sts: StsServer, machine: Path
) -> None:
    """As with IRSA on Amazon EKS: an empty Connection; role and token file in the environment."""
    (machine / "config").write_text("")
    (machine / "token").write_text("the-token-of-the-service-account")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pipeline")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(machine / "token"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
    settings = connect(monkeypatch)
    services = Services(PostgresSettings(dsn=SecretStr("")), settings)
    assert first_request(open_client(settings))["token"] == str(b"token-1")
    assert sts.requests[0]["WebIdentityToken"] == "the-token-of-the-service-account"
    # A process on this machine finds the identity itself, so that boto3 renews its keys.
    assert pipeline.secrets(services) == {}
    assert inherited_identity({}).keys() >= {"AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"}
    # A container has neither the file nor the role.
    assert "token-2" in pipeline.container_secrets(services).values()


def test_a_role_by_web_identity_in_the_connection_reaches_the_trainer_as_keys(
    monkeypatch: pytest.MonkeyPatch, sts: StsServer, machine: Path
) -> None:
    (machine / "token").write_text("federated")
    settings = connect(
        monkeypatch,
        extra={
            "role_arn": "arn:aws:iam::123456789012:role/pipeline",
            "assume_role_method": "assume_role_with_web_identity",
            "assume_role_with_web_identity_federation": "file",
            "assume_role_with_web_identity_token_file": str(machine / "token"),
            "service_config": {"sts": {"endpoint_url": sts.url}},
        },
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
    keys = pipeline.secrets(Services(PostgresSettings(dsn=SecretStr("")), settings))
    assert keys["AWS_SESSION_TOKEN"].startswith("token-")
    assert {request["WebIdentityToken"] for request in sts.requests} == {"federated"}


def test_session_tokens_and_options_reach_the_trainer_and_proxies_with_passwords_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = connect(
        monkeypatch,
        **KEYS,
        extra={
            "aws_session_token": "token-of-extra",
            "verify": False,
            "config_kwargs": {
                "s3": {"addressing_style": "virtual"},
                "proxies": {"https": "http://u:hush@proxy.example.org"},
            },
        },
    )
    services = Services(PostgresSettings(dsn=SecretStr("")), settings)
    secrets = pipeline.secrets(services)
    assert secrets == pipeline.container_secrets(services)
    assert secrets == dict(
        zip(
            contract.SECRET_ENV[:3],
            ("AKIDLOGIN", "secret/of+login", "token-of-extra"),
            strict=True,
        )
    )
    made = S3Settings.from_environment(
        {
            contract.ENV_S3_BUCKET: "releases",
            contract.ENV_S3_VERIFY: settings.public_options()["s3_verify"],
            contract.ENV_S3_CONFIG: settings.public_options()["s3_config"],
            **secrets,
        }
    )
    assert made.verify is False
    assert made.config == {"s3": {"addressing_style": "virtual"}}
    assert "hush" not in str(settings.public_options())
    assert "hush" not in repr(settings)


def test_a_profile_reaches_a_local_trainer_by_name_and_a_container_as_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOFTHEMACHINE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    settings = connect(monkeypatch, extra={"profile_name": "named"})
    services = Services(PostgresSettings(dsn=SecretStr("")), settings)
    assert pipeline.secrets(services) == {"AWS_PROFILE": "named"}
    assert "AWS_ACCESS_KEY_ID" not in inherited_identity({"AWS_PROFILE": "named"})
    assert pipeline.container_secrets(services)["AWS_ACCESS_KEY_ID"] == "AKIDPROFILE"


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"extra": {"config_kwargs": {"no_such": 1}}}, "no_such"),
        ({"extra": {"profile_name": "absent"}}, "absent"),
        ({"extra": {"role_arn": "arn", "assume_role_method": "by_magic"}}, "by_magic"),
        ({"extra": {"bucket_name": ""}}, "bucket_name"),
        ({"extra": {"bucket_name": "x"}}, "bucket"),
    ],
)
def test_an_invalid_connection_is_named_with_what_is_wrong(
    fields: dict[str, Any], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="recsys_s3") as caught:
        connect(monkeypatch, **KEYS, **fields)
    assert found in str(caught.value)
    assert KEYS["password"] not in str(caught.value)


def test_a_host_that_airflows_hook_ignores_is_not_ignored_in_silence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    settings = connect(monkeypatch, **KEYS, host="s3.example.org")
    assert settings.endpoint is None
    assert "endpoint_url" in caplog.text
