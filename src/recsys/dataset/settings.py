"""Settings of the fetch: the default source, timeouts and attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import Field, PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys.errors import ConfigurationError, first_invalid_field

if TYPE_CHECKING:
    from recsys.dataset.credentials import SourceCredentials

DEFAULT_SOURCE: Final = "https://files.grouplens.org/datasets/movielens/ml-latest-small.zip"
"""GroupLens' small dataset: 100,836 ratings."""


class FetchSettings(BaseSettings):
    """Timeouts and attempts of a fetch; environment: ``RECSYS_FETCH_*``.

    Proxies are taken from ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY``.
    """

    # Compose and Kubernetes pass unset variables as empty strings.
    model_config = SettingsConfigDict(
        env_prefix="RECSYS_FETCH_", env_ignore_empty=True, hide_input_in_errors=True
    )

    attempts: int = Field(default=6, ge=1, description="maximum attempts in a row without progress")
    first_wait_s: float = Field(
        default=1.0, ge=0, description="before the second attempt; doubles each time, up to 30"
    )
    connect_timeout_s: float = Field(default=10.0, gt=0)
    read_timeout_s: float = Field(
        default=60.0, gt=0, description="of a server that sends nothing, or nearly nothing"
    )

    _credentials: SourceCredentials | None = PrivateAttr(default=None)

    @property
    def credentials(self) -> SourceCredentials | None:
        """Credentials of the source's web server; None: only those in the source's URL."""
        return self._credentials

    def with_credentials(self, credentials: SourceCredentials | None) -> FetchSettings:
        """Returns a copy with credentials, which no variable, dump or representation contains."""
        copy = self.model_copy()
        copy._credentials = credentials
        return copy

    @classmethod
    def from_environment(cls) -> FetchSettings:
        """Reads the settings from environment variables.

        Raises:
            ConfigurationError: a variable is invalid.
        """
        try:
            return cls()
        except ValidationError as error:
            raise ConfigurationError(
                "RECSYS_FETCH_* is invalid",
                found=str(first_invalid_field(error)),
                hint="correct the variable, or unset it",
            ) from error
