"""Where Airflow's UI is: it can share a host with other services and lie below a path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from airflow.sdk.configuration import conf

if TYPE_CHECKING:
    from recsys.recommenders import Namespace

URL_PREFIX: Final = "/recommender-releases"
"""Path of the releases page, below Airflow's."""


def page_path(names: Namespace) -> str:
    """Returns the path of a recommender's releases page, below Airflow's."""
    return f"{URL_PREFIX}/" if names.is_first else f"{URL_PREFIX}/of/{names.name}/"


def base_path() -> str:
    """Returns the path below which Airflow is served; empty if it has a host of its own.

    It is the path of Airflow's setting ``[api] base_url``, from which Airflow's own links are made.
    """
    return str(urlsplit(conf.get("api", "base_url", fallback="")).path).rstrip("/")
