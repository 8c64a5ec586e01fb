"""The page "Recommender releases" in Airflow's UI.

Every Airflow process loads the plugins, including task processes. The page's modules are therefore
imported at its first request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from recsys_dag.airflow_address import URL_PREFIX, base_path

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _AtFirstRequest:
    """An ASGI application that is created at its first request."""

    def __init__(self) -> None:
        self._app: Callable[[_Scope, _Receive, _Send], Awaitable[None]] | None = None

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        if self._app is None:
            from recsys_plugin.app import make_app

            self._app = make_app()
        await self._app(scope, receive, send)


class ReleasesPlugin(AirflowPlugin):
    """Registers the page and its entry in the menu Browse."""

    name = "recommender_releases"
    fastapi_apps = [  # noqa: RUF012  Airflow reads plain class attributes
        {"app": _AtFirstRequest(), "url_prefix": URL_PREFIX, "name": "Recommender releases"}
    ]
    external_views = [  # noqa: RUF012  Airflow reads plain class attributes
        {
            "name": "Recommender releases",
            "href": f"{base_path()}{URL_PREFIX}/",
            "destination": "nav",
            "category": "browse",
            "url_route": "recommender-releases",
        }
    ]
