"""Announces a new trainer image to Airflow: ``python docker/announce_image.py IMAGE [--trigger]``.

Sets the Airflow Variable ``recsys_trainer_image``, from which the DAG reads the image, so that the
next run trains with it. Needs only Python: a workflow runs it without installing packages.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any, Final, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

VARIABLE: Final = "recsys_trainer_image"
DAG: Final = "movie_rec_sys"
IMAGE: Final = re.compile(r"[a-z0-9][a-zA-Z0-9._:/-]{0,254}@(?P<digest>sha256:[0-9a-f]{64})")

# Same codes as ExitCode in src/recsys/contract/trainer.py, which this script cannot import.
UNAVAILABLE: Final = 75
BAD_CONFIG: Final = 78

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_TIMEOUT_S = 30
_PAUSES_S = (2.0, 4.0, 8.0)
_HELP = f"""\
Sets the Airflow Variable {VARIABLE} to IMAGE. The next run of {DAG} then has a new build and
trains with the image. With --trigger a run starts at once.

environment:
  AIRFLOW_URL         URL of Airflow's API server, https://... (http only on loopback)
  AIRFLOW_TOKEN       token for its API; or
  AIRFLOW_USERNAME, AIRFLOW_PASSWORD    login of a user who may edit Variables and trigger runs

exit codes:
   0  success
  {UNAVAILABLE}  Airflow does not answer: try again
  {BAD_CONFIG}  invalid image, URL, credentials or permissions
"""


class Refused(Exception):
    """A permanent error."""


class Unavailable(Exception):
    """A temporary error: try again later."""


class _NoRedirect(HTTPRedirectHandler):
    # A redirect would send the token to another server.
    def redirect_request(self, *_: object) -> None:
        """Does not follow the redirect."""


class Airflow:
    """Client for the required calls of Airflow's REST API.

    Args:
        url: URL of the API server.
        token: token for its API; empty if there is none yet.
        sleep: waits the given seconds before a retry.

    Raises:
        Refused: the URL would send secrets unencrypted.
    """

    def __init__(self, url: str, token: str, sleep: Callable[[float], None] = time.sleep) -> None:
        parts = urlsplit(url)
        safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        if not safe or parts.username:
            raise Refused(
                "AIRFLOW_URL is not safe for sending a secret; found: "
                f"{parts.scheme or 'nothing'}://{parts.hostname or ''}; expected: https://host"
            )
        self._url = url.rstrip("/")
        self._token = token
        self._sleep = sleep
        proxies = [ProxyHandler({})] if parts.hostname in _LOOPBACK else []
        self._opener = build_opener(_NoRedirect, *proxies)

    def log_in(self, username: str, password: str) -> None:
        """Requests a token."""
        _, answer = self._send(
            "POST", "/auth/token", {"username": username, "password": password}, good=(200, 201)
        )
        self._token = str(answer["access_token"])

    def set_image(self, variable: str, image: str) -> None:
        """Sets the Variable, and reads it back."""
        path = f"/api/v2/variables/{variable}"
        body: dict[str, Any] = {"key": variable, "value": image}
        status, _ = self._send("PATCH", path, body, good=(200, 404))
        if status == 404:
            body["description"] = "the trainer's image, by digest; set when an image is pushed"
            self._send("POST", "/api/v2/variables", body, good=(201,))
        _, stored = self._send("GET", path, None, good=(200,))
        if stored.get("value") != image:
            raise Unavailable(f"{variable} was changed by another client in the meantime")

    def trigger(self, dag: str, image: str) -> str:
        """Triggers a run of a DAG; returns its id."""
        run_id = f"trainer-image-{image[-64:][:12]}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
        body: dict[str, Any] = {
            "dag_run_id": run_id,
            "logical_date": None,
            "conf": {},
            "note": f"a new trainer image: {image}",
        }
        # 409: an earlier attempt of this request succeeded.
        self._send("POST", f"/api/v2/dags/{dag}/dagRuns", body, good=(200, 201, 409))
        return run_id

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, good: Sequence[int]
    ) -> tuple[int, dict[str, Any]]:
        for pause in (*_PAUSES_S, None):
            try:
                return self._try(method, path, body, good)
            except Unavailable:
                if pause is None:
                    raise
                self._sleep(pause)
        raise AssertionError("unreachable")

    def _try(
        self, method: str, path: str, body: Mapping[str, Any] | None, good: Sequence[int]
    ) -> tuple[int, dict[str, Any]]:
        request = Request(  # noqa: S310 - the constructor allows only http and https
            self._url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )
        if self._token:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        what = f"{method} {path}"
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                status, text = answer.status, answer.read()
        except HTTPError as error:
            status, text = error.code, error.read()
        except (URLError, HTTPException, OSError) as error:
            raise Unavailable(f"Airflow does not answer {what}: {error}") from error
        if status >= 500 or status == 429:
            raise Unavailable(f"Airflow cannot answer {what} now; found: HTTP {status}")
        if status not in good:
            raise Refused(
                f"Airflow refused {what}; found: HTTP {status} {text[:200]!r}; expected: "
                f"{' or '.join(map(str, good))}; what to do: {_hint(status)}"
            )
        try:
            parsed = json.loads(text or b"{}")
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise Refused(f"the response to {what} is not from Airflow's API; found: {text[:80]!r}")
        return status, parsed


def _hint(status: int) -> str:
    return {
        401: "check AIRFLOW_TOKEN, or AIRFLOW_USERNAME and AIRFLOW_PASSWORD",
        403: "check that its user may edit Variables and trigger runs",
        404: "check that AIRFLOW_URL is Airflow's API server, and that it has the DAG",
    }.get(status, "read Airflow's response")


def _name(text: str) -> str:
    # It becomes a part of a URL's path.
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", text):
        raise argparse.ArgumentTypeError("not a name")
    return text


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(BAD_CONFIG, f"{message}\n")


def main(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Announces the image; returns the exit code."""
    parser = _Parser(
        prog="announce_image.py",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("image", metavar="IMAGE", help="name@sha256:<64 hex digits>")
    parser.add_argument("--trigger", action="store_true", help="trigger a run at once")
    parser.add_argument(
        "--variable",
        type=_name,
        default=VARIABLE,
        help=f"Variable of another recommender, as its description says; default {VARIABLE}",
    )
    parser.add_argument(
        "--dag", type=_name, default=DAG, help=f"DAG of another recommender; default {DAG}"
    )
    options = parser.parse_args(arguments)
    try:
        if not IMAGE.fullmatch(options.image):
            raise Refused(
                f"not an image with a digest; found: {options.image[:100]!r}; "
                "expected: name@sha256:<64 hex digits>"
            )
        airflow = Airflow(environ.get("AIRFLOW_URL", ""), environ.get("AIRFLOW_TOKEN", ""), sleep)
        if not environ.get("AIRFLOW_TOKEN"):
            try:
                airflow.log_in(environ["AIRFLOW_USERNAME"], environ["AIRFLOW_PASSWORD"])
            except KeyError as error:
                raise Refused(f"neither AIRFLOW_TOKEN nor {error.args[0]} is set") from error
        airflow.set_image(options.variable, options.image)
        print(
            f"{options.variable} is {options.image}; the next run of {options.dag} trains with it"
        )
        if options.trigger:
            print(f"started the run {airflow.trigger(options.dag, options.image)} of {options.dag}")
    except Refused as error:
        print(error, file=sys.stderr)
        return BAD_CONFIG
    except Unavailable as error:
        print(f"{error}; what to do: try again", file=sys.stderr)
        return UNAVAILABLE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
