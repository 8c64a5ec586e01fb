"""The boto3 client: its settings, its attempts, and what it is set to send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from recsys.errors import ConfigurationError
from recsys.object_store.certificates import trusted_authorities
from recsys.object_store.credentials import client_factory
from recsys.object_store.errors import is_untrusted
from recsys.object_store.settings import S3Settings

if TYPE_CHECKING:
    from botocore.config import Config
    from mypy_boto3_s3 import S3Client

_STALLED_ATTEMPTS = 2


def open_client(settings: S3Settings) -> S3Client:
    """Creates an S3 client from settings; opens no connection yet.

    Raises:
        ConfigurationError: the settings are invalid.
    """
    from botocore.exceptions import BotoCoreError

    try:
        client: S3Client = client_factory(settings)(
            "s3",
            endpoint_url=settings.endpoint,
            region_name=settings.region,
            verify=_verify(settings),
            config=_config(settings),
        )
    # TypeError: an argument that botocore's Config does not have.
    except (BotoCoreError, ValueError, TypeError) as error:
        raise ConfigurationError(
            "the S3 settings are invalid",
            found=str(error),
            hint="correct RECSYS_S3_* and AWS_*, or the Connection of S3 (recsys_s3)",
        ) from error
    client.meta.events.register_first("needs-retry.s3", _stop_when_stalled)
    return client


def _verify(settings: S3Settings) -> bool | str | None:
    # Without TLS nothing is verified, and reading a bundle takes as long as making a client.
    if settings.endpoint and urlsplit(settings.endpoint).scheme == "http":
        return None
    return trusted_authorities(settings.verify)


def _config(settings: S3Settings) -> Config:
    from botocore import UNSIGNED
    from botocore.config import Config

    given = dict(settings.config)
    # JSON has no name for this object; Airflow's hook uses the same word.
    if given.get("signature_version") == "unsigned":
        given["signature_version"] = UNSIGNED
    own: dict[str, Any] = {
        "retries": {"mode": "standard", "total_max_attempts": settings.max_attempts},
        "connect_timeout": 5,
        "read_timeout": settings.read_timeout,
    }
    style = {"addressing_style": "path" if settings.endpoint else "auto"}
    return Config(**{**own, **given, "s3": {**style, **(given.get("s3") or {})}})


def sends_checksums(client: S3Client) -> bool:
    """False if boto is set to send only required checksums, as for servers that know none."""
    # Set by AWS_REQUEST_CHECKSUM_CALCULATION or in a file of AWS; the stubs lack it.
    calculation = getattr(client.meta.config, "request_checksum_calculation", None)
    return calculation != "when_required"


def _stop_when_stalled(
    attempts: int, caught_exception: Exception | None = None, **_: object
) -> None:
    """Ends the attempts at a server that accepts requests and does not answer, or is not trusted.

    boto3 would wait for the time limit of a read in each of its attempts, which are meant for
    servers that answer with an error.
    """
    from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError, SSLError

    if isinstance(caught_exception, SSLError) and is_untrusted(caught_exception):
        raise caught_exception
    if attempts >= _STALLED_ATTEMPTS and isinstance(
        caught_exception, ReadTimeoutError | ConnectTimeoutError
    ):
        raise caught_exception
