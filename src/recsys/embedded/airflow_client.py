"""A small client of Airflow's REST API: triggers a DAG run and reads its state."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

from recsys.errors import ConfigurationError, PermanentError, ServiceUnavailableError
from recsys.http_client import TRANSPORT_ERRORS, describe_error, open_session

_TIMEOUT_SECONDS = 60
_IMPORT_ERROR_SECONDS = 15


@dataclass(frozen=True)
class TaskInstance:
    """A task instance of a run.

    Attributes:
        task_id: id of the task, with its group.
        state: Airflow's state, or None before it is scheduled.
        try_number: number of the last try; 0 before the first.
        duration: seconds of the last try, or None.
    """

    task_id: str
    state: str | None
    try_number: int
    duration: float | None


class AirflowClient:
    """Client of one Airflow API server; a context manager that closes its connections.

    Args:
        url: URL of the API server, without a path.
        username: name of a user who may trigger runs.
        password: the user's password.
    """

    def __init__(self, url: str, username: str, password: str) -> None:
        self.url = url
        self._login = {"username": username, "password": password}
        # Requests to loopback must skip the environment's proxies.
        self._http = open_session(connect_attempts=2, use_environment=False)
        self._token: str | None = None

    def __enter__(self) -> AirflowClient:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.close()

    def health(self) -> dict[str, Any]:
        """Returns the health of each component; needs no login."""
        health: dict[str, Any] = self._send("GET", "/api/v2/monitor/health", login=False)
        return health

    def warm_execution_api(self) -> None:
        """Calls the API that tasks use, because its first response is slow."""
        self._send("GET", "/execution/health", login=False)

    def token(self) -> str:
        """Returns a token for the API; requests one at the first call."""
        if self._token is None:
            answer = self._send("POST", "/auth/token", json=self._login, login=False)
            self._token = str(answer["access_token"])
        return self._token

    def unpause(self, dag_id: str) -> None:
        """Unpauses the DAG."""
        self._send("PATCH", f"/api/v2/dags/{_part(dag_id)}", json={"is_paused": False})

    def fail_run(self, dag_id: str, run_id: str) -> None:
        """Marks a run as failed, which ends its running tasks."""
        self._send(
            "PATCH",
            f"/api/v2/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}",
            json={"state": "failed"},
        )

    def wait_for_dag(self, dag_id: str, seconds: float = 120) -> None:
        """Waits until the DAG processor has parsed the DAG.

        Waits at most 15 s if there is an import error, which may be of another file.

        Raises:
            ConfigurationError: the DAG's file cannot be imported, or there is none.
        """
        began = time.monotonic()
        while True:
            response = self._request("GET", f"/api/v2/dags/{_part(dag_id)}")
            if _is_success(response):
                return
            errors = self._send("GET", "/api/v2/importErrors")["import_errors"]
            if time.monotonic() - began > (
                min(seconds, _IMPORT_ERROR_SECONDS) if errors else seconds
            ):
                raise ConfigurationError(
                    f"Airflow has no DAG {dag_id}",
                    found="; ".join(map(_import_error, errors)) or "no file",
                    expected="a file that defines it in the DAGs folder",
                )
            time.sleep(1)

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Triggers a run.

        Args:
            dag_id: the DAG.
            conf: values of its Params.

        Returns:
            The id of the run.
        """
        answer = self._send(
            "POST",
            f"/api/v2/dags/{_part(dag_id)}/dagRuns",
            json={"logical_date": None, "conf": dict(conf or {})},
        )
        return str(answer["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Returns the run's state: queued, running, success or failed."""
        answer = self._send("GET", f"/api/v2/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}")
        return str(answer["state"])

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        """Returns the task instances of a run."""
        answer = self._send(
            "GET",
            f"/api/v2/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}/taskInstances",
            params={"limit": 1000},
        )
        return [
            TaskInstance(item["task_id"], item["state"], item["try_number"], item["duration"])
            for item in answer["task_instances"]
        ]

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str) -> Any:
        """A value that a task of a run left, or None if it left none."""
        try:
            answer = self._send(
                "GET",
                f"/api/v2/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}"
                f"/taskInstances/{_part(task_id)}/xcomEntries/{_part(key)}",
            )
        except PermanentError:
            return None
        return answer["value"]

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int) -> str:
        """The log of one try of a task, as text."""
        answer = self._send(
            "GET",
            f"/api/v2/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}"
            f"/taskInstances/{_part(task_id)}/logs/{try_number}",
            params={"full_content": "true"},
        )
        return "\n".join(
            str(line.get("event", line)) if isinstance(line, dict) else str(line)
            for line in answer["content"]
        )

    def _request(
        self, method: str, path: str, *, login: bool = True, **options: Any
    ) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token()}"} if login else {}
        try:
            return self._http.request(
                method,
                self.url + path,
                headers=headers,
                timeout=_TIMEOUT_SECONDS,
                allow_redirects=False,
                **options,
            )
        except TRANSPORT_ERRORS as error:
            raise ServiceUnavailableError(
                "Airflow does not answer",
                found=describe_error(error),
                expected=f"a response from {self.url}",
                hint="start it with `recsys up`",
            ) from error

    def _send(self, method: str, path: str, *, login: bool = True, **options: Any) -> Any:
        response = self._request(method, path, login=login, **options)
        if _is_success(response):
            return response.json()
        found = f"HTTP {response.status_code} {response.text}"
        if response.status_code >= 500:
            raise ServiceUnavailableError(f"Airflow failed at {method} {path}", found=found)
        raise PermanentError(f"Airflow refused {method} {path}", found=found)


def _is_success(response: requests.Response) -> bool:
    # `response.ok` is also true for a redirect.
    return 200 <= response.status_code < 300


def _import_error(error: Mapping[str, Any]) -> str:
    lines = str(error["stack_trace"]).strip().splitlines() or ["no reason"]
    return f"{error['filename']}: {lines[-1]}"


def _part(text: str) -> str:
    """Quotes a segment of a path: run ids contain reserved characters."""
    return quote(text, safe="")
