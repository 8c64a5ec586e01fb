"""Runs the trainer as an Indexed Job: several pods that train one release together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from airflow.providers.cncf.kubernetes.operators.job import KubernetesJobOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException
from kubernetes.client import V1ObjectMeta, V1Pod
from kubernetes.client.exceptions import ApiException

from recsys import contract
from recsys.errors import PermanentError, RecsysError, TransientError
from recsys_dag import descriptions, tasks
from recsys_dag.trainer.pod import CONTAINER, explained, pod_arguments, pod_environment
from recsys_dag.trainer.pod_failure import explain_pod
from recsys_dag.trainer.settings import RELEASE_LABEL, PodSettings, label_value

SERVICE: Final = "recsys-trainer"
"""Headless Service of k8s/base that gives the workers DNS names; the pods' subdomain."""
_JOB_TTL_S: Final = 3600


class TrainerJob(KubernetesJobOperator):
    """Runs workers that train one release together.

    A Job that succeeds is not trusted: verify_candidate checks the manifest that it wrote. If one
    worker fails, the Job fails at once, and the next try resumes from the last checkpoint.

    Args:
        workers: number of workers, 2 or more.
        pod_settings: settings of each worker's pod.
        kwargs: other arguments of the operator.
    """

    def __init__(self, *, workers: int, pod_settings: PodSettings, **kwargs: Any) -> None:
        kwargs.setdefault("job_poll_interval", 10)
        self.pod_settings = pod_settings
        super().__init__(
            completion_mode="Indexed",
            completions=workers,
            parallelism=workers,
            backoff_limit=0,
            ttl_seconds_after_finished=_JOB_TTL_S,
            wait_until_job_complete=True,
            random_name_suffix=True,
            # The status of a failed pod is read before the Job is deleted.
            on_finish_action="keep_pod",
            **pod_arguments("train", pod_settings),
            **kwargs,
        )

    def execute(self, context: Context) -> Any:
        """Runs the Job, unless the release is already trained."""
        trainer_input = tasks.begin_trainer("train", context)
        if trainer_input is None:
            return None
        self.env_vars = {
            **pod_environment(trainer_input, self.pod_settings),
            contract.ENV_WORKERS: str(self.parallelism),
            contract.ENV_WORKER_SERVICE: SERVICE,
        }
        value = label_value(descriptions.of(context), trainer_input.release_id)
        self.labels = {**(self.labels or {}), RELEASE_LABEL: value}
        with explained(self):
            self._end_jobs(f"{RELEASE_LABEL}={value}")
            try:
                super().execute(context)
            except AirflowException as error:
                raise self._explain() or _unexplained(error) from error
            except RecsysError:
                self._delete()
                raise
            self._delete()
        return None

    def execute_complete(self, context: Context, event: dict[str, Any], **kwargs: Any) -> Any:
        """Continues after the triggerer saw the end of the Job."""
        with explained(self):
            metadata = event["job"]["metadata"]
            self.job = self.hook.get_job(metadata["name"], metadata["namespace"])
            try:
                super().execute_complete(context, event, **kwargs)
            except AirflowException as error:
                # The provider copies the logs only of a Job that succeeded.
                for pod in self._workers():
                    self._write_logs(pod)
                raise self._explain() or _unexplained(error) from error
            self._delete()

    def get_pods(
        self, pod_request_obj: V1Pod, context: Context, *, exclude_checked: bool = True
    ) -> Sequence[V1Pod]:
        """Waits until all workers have started.

        Raises:
            RecsysError: a worker did not start within the startup timeout.
        """
        deadline = time.monotonic() + self.startup_timeout_seconds
        while True:
            pods = self._workers()
            if len(pods) == self.parallelism and all(p.status.phase != "Pending" for p in pods):
                return pods
            if time.monotonic() >= deadline:
                break
            time.sleep(min(1.0, self.job_poll_interval))
        raise self._explain() or TransientError(
            "not all workers of the trainer's Job started",
            found=f"{len(pods)} of {self.parallelism} pods within {self.startup_timeout_seconds} s",
            hint="run kubectl describe job, and check the ResourceQuota of the namespace",
        )

    def _workers(self) -> list[V1Pod]:
        metadata = self._metadata()
        found = self.client.list_namespaced_pod(
            metadata.namespace, label_selector=f"batch.kubernetes.io/job-name={metadata.name}"
        )
        return list(found.items)

    def _explain(self) -> RecsysError | None:
        """Returns the error that caused the Job's failure, from the status of its pods."""
        # Kubernetes terminates the other workers after one has failed: those come last.
        pods = sorted(self._workers(), key=_was_terminated)
        errors = [explain_pod(pod, CONTAINER, "train") for pod in pods]
        self._delete()
        causes = [error for error in errors if error is not None]
        permanent = [error for error in causes if isinstance(error, PermanentError)]
        return next(iter([*permanent, *causes]), None)

    def _metadata(self) -> V1ObjectMeta:
        if self.job is None:
            raise TransientError("no Job was started", hint="the next try starts one")
        return self.job.metadata

    def _delete(self) -> None:
        metadata = self._metadata()
        try:
            self.job_client.delete_namespaced_job(
                metadata.name, metadata.namespace, propagation_policy="Background"
            )
        except ApiException as error:
            if error.status != 404:
                self.log.warning(
                    "the Job could not be deleted; it expires after its TTL: %s", error.reason
                )

    def _end_jobs(self, selector: str) -> None:
        """Deletes the Job of an earlier try: two Jobs must not write the same release."""
        namespace = str(self.namespace)
        deadline = time.monotonic() + self.startup_timeout_seconds
        while jobs := self.job_client.list_namespaced_job(namespace, label_selector=selector).items:
            for job in jobs:
                if job.metadata.deletion_timestamp is None:
                    self.log.info("deleting the Job %s of an earlier try", job.metadata.name)
                    self.job_client.delete_namespaced_job(
                        job.metadata.name, namespace, propagation_policy="Foreground"
                    )
            if time.monotonic() >= deadline:
                raise TransientError(
                    "the Job of an earlier try is still running",
                    found=", ".join(job.metadata.name for job in jobs),
                    hint="delete it with kubectl delete job; the next try checks again",
                )
            time.sleep(min(1.0, self.job_poll_interval))


def _was_terminated(pod: V1Pod) -> bool:
    ended = [status.state.terminated for status in pod.status.container_statuses or ()]
    return any(e is not None and e.exit_code == contract.ExitCode.TERMINATED for e in ended)


def _unexplained(error: Exception) -> TransientError:
    return TransientError(
        "the trainer's Job failed",
        found=str(error),
        hint="run kubectl describe job, and read the logs of its pods",
    )
