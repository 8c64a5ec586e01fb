"""Checks before the site starts: settings with which it could never work."""

from __future__ import annotations

import psycopg

from certificate_authorities import EXPECTED, InvalidAuthoritiesError
from recsys_site.obstacles import unusable_pooler
from recsys_site.releases import open_s3_client
from recsys_site.sessions import open_session
from recsys_site.settings import SiteSettings


def startup_obstacle(settings: SiteSettings) -> str | None:
    """Returns why the site cannot work with these settings, and what to do; None if it can.

    A server that does not answer is no obstacle: the site waits for it.
    """
    try:
        open_s3_client(settings)
    except InvalidAuthoritiesError as error:
        return f"{error.variable or 'AWS_CA_BUNDLE'} has to name {EXPECTED}; found {error.found}"
    try:
        with open_session(settings.dsn.get_secret_value()):
            return None
    except psycopg.Error as error:
        return unusable_pooler(error)
