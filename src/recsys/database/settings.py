"""Address and credentials of the database."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys.contract import SITE_ROLE
from recsys.database.address import InvalidAddressError, clean_address
from recsys.errors import ConfigurationError


class PostgresSettings(BaseSettings):
    """Address and credentials of the database: ``RECSYS_PG_DSN``, a libpq URI or string."""

    # Compose and Kubernetes pass unset variables as empty strings. A rejected value may be secret.
    model_config = SettingsConfigDict(
        env_prefix="RECSYS_PG_", env_ignore_empty=True, hide_input_in_errors=True
    )

    dsn: SecretStr
    site_role: str = Field(
        default=SITE_ROLE,
        pattern=r"^[a-z_][a-z0-9_]{0,62}$",
        description="the role whose members read releases; each recommender has its own",
    )
    connect_timeout: int = Field(
        default=10, gt=0, description="seconds, unless the address names its own"
    )
    statement_timeout: float = Field(
        default=20.0, gt=0, description="seconds that one statement may take"
    )

    def address(self) -> str:
        """Returns the address as libpq understands it; it may contain the password.

        Raises:
            ConfigurationError: the address is invalid. The error contains no part of it.
        """
        try:
            return clean_address(self.dsn.get_secret_value())
        except InvalidAddressError as error:
            raise ConfigurationError(
                "the address of PostgreSQL is invalid",
                found=str(error),
                expected="a libpq URI such as postgresql://user:password@host:5432/database",
                hint="correct RECSYS_PG_DSN or the connection; the value is a secret, so it is not "
                "shown",
            ) from None
