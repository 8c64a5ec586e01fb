"""Settings of the object store, from environment variables."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys.errors import ConfigurationError, first_invalid_field


class S3Settings(BaseSettings):
    """Address and credentials of the object store: ``RECSYS_S3_*`` and ``AWS_*``."""

    # Compose and Kubernetes pass unset variables as empty strings. A rejected value may be secret.
    model_config = SettingsConfigDict(
        env_prefix="RECSYS_S3_",
        env_ignore_empty=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    bucket: str = Field(min_length=3)
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: SecretStr | None = Field(default=None, validation_alias="AWS_ACCESS_KEY_ID")
    secret_key: SecretStr | None = Field(default=None, validation_alias="AWS_SECRET_ACCESS_KEY")
    max_attempts: int = Field(default=8, ge=1, description="maximum attempts per request")
    read_timeout: float = Field(
        default=20.0, gt=0, description="seconds without a byte after which an attempt has failed"
    )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> S3Settings:
        """Reads the settings from environment variables; empty ones count as unset.

        Args:
            environ: the variables; those of this process if not given.

        Raises:
            ConfigurationError: a variable is missing or invalid. The error does not show values.
        """
        try:
            return cls() if environ is None else cls.model_validate(cls._values(environ))
        except ValidationError as error:
            raise ConfigurationError(
                "the S3 settings are missing or invalid",
                found=f"{cls.__name__}.{first_invalid_field(error)}",
                expected="RECSYS_S3_BUCKET, RECSYS_S3_ENDPOINT, and AWS_* secrets",
                hint="set these environment variables, or correct the connection recsys_s3",
            ) from error

    @classmethod
    def _values(cls, environ: Mapping[str, str]) -> dict[str, object]:
        """All fields: pydantic would read missing ones from this process's environment."""
        values: dict[str, object] = {}
        for name, field in cls.model_fields.items():
            variable = str(field.validation_alias or f"RECSYS_S3_{name.upper()}")
            default = "" if field.is_required() else field.default
            values[name] = environ.get(variable) or default
        return values
