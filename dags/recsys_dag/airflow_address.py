"""Where Airflow's UI is: it can share a host with other services and lie below a path."""

from __future__ import annotations

from urllib.parse import urlsplit

from airflow.sdk.configuration import conf


def base_path() -> str:
    """Returns the path below which Airflow is served; empty if it has a host of its own.

    It is the path of Airflow's setting ``[api] base_url``, from which Airflow's own links are made.
    """
    return str(urlsplit(conf.get("api", "base_url", fallback="")).path).rstrip("/")
