"""Secrets of a source's URL are hidden in the logs of all libraries.

Every task process imports this module, so it imports nothing heavy.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from airflow.sdk import log as airflow_log

from recsys import dataset

log = logging.getLogger(__name__)

SOURCE_CONN_ID: Final = "recsys_source"
"""The Connection with the credentials of the dataset's web server."""


def hide_source_secrets(source: str, conn_id: str) -> None:
    """Masks the secrets of a source's URL in logs, and warns that they stand elsewhere.

    Args:
        source: the dataset, or several mirrors.
        conn_id: the Connection in which they belong.
    """
    mask_source(source)
    if dataset.has_login(source):
        log.warning(
            "the source's URL contains credentials, which Airflow shows and stores in Params, XCom "
            "and the run's conf: move them to the Connection %s",
            conn_id,
        )


def mask_source(source: str) -> None:
    """Has Airflow hide the secrets of a source's URL in the logs of all libraries."""
    mask(dataset.source_secrets(source))


def mask(secrets: Iterable[str]) -> None:
    """Has Airflow hide secrets in the logs of all libraries."""
    for secret in secrets:
        airflow_log.mask_secret(secret)
