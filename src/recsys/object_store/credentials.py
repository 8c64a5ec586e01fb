"""Credentials of the object store: keys, a profile, a role, or what boto3 finds itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from recsys.errors import ConfigurationError
from recsys.object_store.certificates import trusted_authorities
from recsys.object_store.settings import S3Settings

if TYPE_CHECKING:
    import boto3
    from botocore.credentials import Credentials

_METHOD = "assume-role"


def client_factory(settings: S3Settings) -> Callable[..., Any]:
    """Returns what makes clients with the credentials of the settings; sends no request yet.

    Raises:
        ConfigurationError: there are no credentials to assume the role with.
        BotoCoreError: there is no such profile.
    """
    import boto3

    finds_identity = settings.access_key is None and trusted_authorities(settings.verify)
    if not (settings.session_factory or settings.role_arn or settings.profile or finds_identity):
        # boto3's own session: a new one takes ten times as long as a client.
        client: Callable[..., Any] = partial(boto3.client, **_keys(settings))
    else:
        client = _open_session(settings).client
    return client


def current_keys(settings: S3Settings) -> dict[str, str]:
    """Returns the keys that boto3 uses now, as environment variables.

    For a process that cannot find or renew them itself: temporary keys expire, usually after an
    hour or more.

    Raises:
        ConfigurationError: there are no credentials, or they cannot be used.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        found = _open_session(settings).get_credentials()
        keys = found.get_frozen_credentials() if found else None
    except (BotoCoreError, ClientError) as error:
        raise ConfigurationError(
            "the credentials for S3 cannot be used",
            found=str(error),
            hint="correct AWS_* and RECSYS_S3_*, or the Connection of S3 (recsys_s3)",
        ) from error
    if keys is None:
        return {}
    named = {
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "AWS_SESSION_TOKEN": keys.token,
    }
    return {name: value for name, value in named.items() if value}


def _open_session(settings: S3Settings) -> boto3.Session:
    import boto3

    if settings.session_factory is not None:
        return settings.session_factory()
    from botocore.session import get_session

    core = get_session()
    if trusted := trusted_authorities(settings.verify):
        # For the clients that it makes itself: of STS for a web identity or a profile, of SSO.
        core.set_config_variable("ca_bundle", trusted)
    session = boto3.Session(
        **_keys(settings),
        region_name=settings.region,
        profile_name=settings.profile,
        botocore_session=core,
    )
    if settings.role_arn:
        return _session_of_role(session, settings, settings.role_arn)
    return session


def _keys(settings: S3Settings) -> dict[str, Any]:
    secrets = {
        "aws_access_key_id": settings.access_key,
        "aws_secret_access_key": settings.secret_key,
        "aws_session_token": settings.session_token,
    }
    return {name: secret.get_secret_value() for name, secret in secrets.items() if secret}


def _session_of_role(base: boto3.Session, settings: S3Settings, role_arn: str) -> boto3.Session:
    import boto3
    from botocore.credentials import (
        AssumeRoleCredentialFetcher,
        CredentialProvider,
        CredentialResolver,
        DeferredRefreshableCredentials,
    )
    from botocore.session import get_session

    source = base.get_credentials()
    if source is None:
        raise ConfigurationError(
            "no credentials to assume a role with",
            found=role_arn,
            expected="keys, a profile, or an identity of the machine",
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the Connection of S3 "
            "(recsys_s3)",
        )
    fetcher = AssumeRoleCredentialFetcher(
        partial(
            base.client,
            endpoint_url=settings.sts_endpoint,
            region_name=settings.region,
            verify=trusted_authorities(settings.verify),
        ),
        source,
        role_arn,
        extra_args=dict(settings.role_options),
    )

    class Role(CredentialProvider):
        METHOD = _METHOD

        def load(self) -> Credentials:
            return DeferredRefreshableCredentials(
                refresh_using=fetcher.fetch_credentials, method=_METHOD
            )

    core = get_session()
    core.register_component("credential_provider", CredentialResolver(providers=[Role()]))
    return boto3.Session(botocore_session=core, region_name=settings.region)
