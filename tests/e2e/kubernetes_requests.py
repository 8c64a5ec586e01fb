"""What requests to a Kubernetes API ask for, and the documents that answer them."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from aiohttp import web

Document = dict[str, Any]
RESOURCE_PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)/namespaces/(?P<namespace>[^/]+)/(?P<plural>[^/]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?"
)
_VERBS = {"POST": "create", "PATCH": "patch", "PUT": "update"}


class Asked(NamedTuple):
    """One kind of call: who wanted to do what to which resource."""

    account: str
    verb: str
    resource: str


def verb_of(request: web.Request, name: str | None) -> str:
    if request.method == "DELETE":
        return "delete" if name else "deletecollection"
    if request.method == "GET":
        watch = request.query.get("watch") in ("true", "True", "1")
        return "watch" if watch else "get" if name else "list"
    return _VERBS[request.method]


def selector_terms(selector: str) -> list[tuple[str, str | None, bool]]:
    """``a=b``, ``a!=b`` and ``!a``: name, value and whether it must be that."""
    terms: list[tuple[str, str | None, bool]] = []
    for term in filter(None, (t.strip() for t in selector.split(","))):
        if term.startswith("!"):
            terms.append((term[1:], None, True))
        elif "!=" in term:
            key, value = term.split("!=")
            terms.append((key, value, False))
        else:
            key, value = term.replace("==", "=").split("=")
            terms.append((key, value, True))
    return terms


def field_of(document: Document, path: str) -> Any:
    found: Any = document
    for part in path.split("."):
        found = found.get(part, {})
    return found or None


def list_of(items: list[Document]) -> Document:
    return {
        "kind": "List",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "1"},
        "items": items,
    }


def status_of(code: int, message: str) -> web.Response:
    state = "Success" if code < 400 else "Failure"
    body = {"kind": "Status", "apiVersion": "v1", "status": state, "message": message}
    return web.json_response(body | {"code": code}, status=code)
