"""An HTTP session for one server on this machine: paths instead of URLs, no proxies."""

from __future__ import annotations

from typing import Any

import requests


class HttpSession(requests.Session):
    """Sends requests to one server; follows no redirect, so that tests see it.

    Args:
        url: the server's address, without a path.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.trust_env = False
        self._url = url

    def request(self, method: Any, url: Any, *args: Any, **options: Any) -> requests.Response:
        options = {"timeout": 30, **options, "allow_redirects": False}
        return super().request(method, self._url + url, *args, **options)
