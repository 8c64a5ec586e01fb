"""Settings of the site, read from environment variables."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from database_address import clean_address


class SiteSettings(BaseSettings):
    """Settings from ``RECSYS_SITE_*``, and from ``AWS_*`` for the object store's credentials.

    The account of ``dsn`` should be a member of the role ``recsys_site``, which can read only
    releases that were promoted.
    """

    # A rejected value may be a secret, so errors do not contain it.
    model_config = SettingsConfigDict(
        env_prefix="RECSYS_SITE_",
        env_ignore_empty=True,
        hide_input_in_errors=True,
        populate_by_name=True,
        frozen=True,
    )

    dsn: SecretStr = Field(description="the vector database, as a libpq URI or connection string")
    s3_bucket: str = Field(min_length=3)
    s3_prefix: str = Field(
        default="", description="of all keys in the bucket, if several recommenders share it"
    )
    s3_endpoint: str | None = None
    s3_region: str = "us-east-1"
    access_key: SecretStr | None = Field(default=None, validation_alias="AWS_ACCESS_KEY_ID")
    secret_key: SecretStr | None = Field(default=None, validation_alias="AWS_SECRET_ACCESS_KEY")
    session_token: SecretStr | None = Field(
        default=None,
        validation_alias="AWS_SESSION_TOKEN",
        description="of temporary keys; without keys, boto3 finds the machine's identity",
    )
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    models: Path = Field(
        default=Path("models"), description="local folder for the model; processes may share it"
    )
    connections: int = Field(
        default=8, ge=1, le=100, description="maximum number of database connections"
    )
    verification_keys: Path | None = Field(
        default=None,
        description="file or folder with the public keys that releases must be signed with; "
        "without it, releases need no signature",
    )
    poll_seconds: float = Field(
        default=15,
        gt=0,
        description="seconds between checks for a release, in case a notification was missed",
    )

    @field_validator("s3_prefix")
    @classmethod
    def _end_prefix(cls, prefix: str) -> str:
        return f"{prefix}/" if prefix and not prefix.endswith("/") else prefix

    @field_validator("dsn")
    @classmethod
    def _clean(cls, dsn: SecretStr) -> SecretStr:
        """Refuses an address that libpq cannot parse: its errors would log the password."""
        return SecretStr(clean_address(dsn.get_secret_value()))
