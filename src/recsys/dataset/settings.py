"""Settings of the fetch: where the dataset is by default, and how often a download is retried."""

from __future__ import annotations

from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

DEFAULT_SOURCE: Final = "https://files.grouplens.org/datasets/movielens/ml-latest-small.zip"
"""GroupLens' small dataset: 100,836 ratings."""


class FetchSettings(BaseSettings):
    """How patient a fetch of the dataset is; environment: ``RECSYS_FETCH_*``.

    Proxies are taken from ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY``.
    """

    # Compose and Kubernetes pass unset variables as empty strings.
    model_config = SettingsConfigDict(
        env_prefix="RECSYS_FETCH_", env_ignore_empty=True, hide_input_in_errors=True
    )

    attempts: int = Field(
        default=6, ge=1, description="connections in a row that bring nothing new"
    )
    first_wait_s: float = Field(
        default=1.0, ge=0, description="before the second of them; doubled each time, at most 30"
    )
    connect_timeout_s: float = Field(default=10.0, gt=0)
    read_timeout_s: float = Field(
        default=60.0, gt=0, description="without a byte, or with next to none"
    )
