"""``python -m recsys_site``: runs the web server until it is stopped."""

from __future__ import annotations

import logging
import sys
from typing import Any

import uvicorn
from pydantic import ValidationError

from recsys_site.app import create_app
from recsys_site.settings import SiteSettings
from recsys_site.startup import startup_obstacle

_SWITCH_INTERVAL_S = 0.0005
_KEEP_ALIVE_S = 75
"""Longer than load balancers keep an idle connection (60 s is usual).

A server that closes first may do so while a request is on its way, which then fails.
"""


def main() -> None:
    """Reads the settings from the environment and runs the web server."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        settings = SiteSettings()
    except ValidationError as error:
        # Only names and reasons: a rejected value may be a secret.
        reasons = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        sys.exit(f"the settings of the site (RECSYS_SITE_*) are invalid: {'; '.join(reasons)}")
    if reason := startup_obstacle(settings):
        sys.exit(f"the site cannot start: {reason}")
    # A release is loaded while requests are answered. With Python's default of 5 ms, each of a
    # request's changes of thread would wait as long for the loading thread.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    uvicorn.Server(server_config(create_app(settings), settings)).run()


def server_config(app: Any, settings: SiteSettings) -> uvicorn.Config:
    """Returns the configuration of the web server for an ASGI app."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=200,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    main()
