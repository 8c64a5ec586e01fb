"""What the site is told, by its environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class SiteSettings(BaseSettings):
    """Environment: ``RECSYS_SITE_*``, and ``AWS_*`` for the secrets of the object store.

    The account of ``dsn`` should be a member of the role ``recsys_site``, which may read the
    releases that were promoted and nothing else.
    """

    # What is refused may be a secret, so errors do not repeat it.
    model_config = SettingsConfigDict(
        env_prefix="RECSYS_SITE_",
        env_ignore_empty=True,
        hide_input_in_errors=True,
        populate_by_name=True,
        frozen=True,
    )

    dsn: SecretStr = Field(description="the vector database, a libpq URI or string")
    s3_bucket: str = Field(min_length=3)
    s3_endpoint: str | None = None
    s3_region: str = "us-east-1"
    access_key: SecretStr | None = Field(default=None, validation_alias="AWS_ACCESS_KEY_ID")
    secret_key: SecretStr | None = Field(default=None, validation_alias="AWS_SECRET_ACCESS_KEY")
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    models: Path = Field(
        default=Path("models"), description="folder of this process where it keeps the model"
    )
    connections: int = Field(default=8, ge=1, le=100, description="to the database, at most")
    poll_seconds: float = Field(
        default=15, gt=0, description="how often to look for a release that was not announced"
    )
