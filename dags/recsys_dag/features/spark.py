"""Operator that computes features as a SparkApplication; its import takes a second."""

from __future__ import annotations

from typing import Any

import yaml
from airflow.providers.cncf.kubernetes.operators.spark_kubernetes import SparkKubernetesOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException
from kubernetes.client import V1Pod
from kubernetes.client.exceptions import ApiException

from recsys import pipeline
from recsys.errors import ConfigurationError, PermanentError, TransientError
from recsys.object_store import S3Settings
from recsys.spark.submit import failure, s3_environment
from recsys_dag import descriptions, settings, tasks
from recsys_dag.features.settings import SparkPodSettings
from recsys_dag.pods import out_of_memory


class FeaturesOnSpark(SparkKubernetesOperator):
    """Runs one subcommand of `recsys.spark.application` in a SparkApplication.

    Args:
        subcommand: ``frames`` or ``vectors``.
        pod_settings: settings of the SparkApplication.
        kwargs: other arguments of the operator.
    """

    def __init__(self, *, subcommand: str, pod_settings: SparkPodSettings, **kwargs: Any) -> None:
        self.subcommand = subcommand
        self.pod_settings = pod_settings
        super().__init__(
            name=f"recsys-{subcommand}",
            namespace=pod_settings.namespace,
            kubernetes_conn_id=pod_settings.conn_id,
            # Set at run time; the base class requires a value.
            template_spec={},
            startup_timeout_seconds=pod_settings.startup_timeout_s,
            log_events_on_failure=True,
            random_name_suffix=True,
            **kwargs,
        )

    def execute(self, context: Context) -> Any:
        """Renders the SparkApplication of this run and runs it."""
        run = tasks.run_of(context)
        services = settings.services(descriptions.of(context))
        pipeline.continue_build(services, run)
        self.template_spec = application(
            self.pod_settings,
            [
                self.subcommand,
                *("--md5", run.build.dataset_md5),
                *("--settings", run.features.model_dump_json()),
            ],
            application_environment(services.s3),
        )
        try:
            return super().execute(context)
        except ApiException as error:
            raise _api_error(error, self.pod_settings) from error

    def cleanup(
        self,
        pod: V1Pod,
        remote_pod: V1Pod,
        xcom_result: dict[str, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        """Deletes the application; raises the error for its driver's exit code if it failed."""
        try:
            super().cleanup(pod, remote_pod, xcom_result, context)
        except AirflowException as error:
            raise _driver_error(remote_pod, self.subcommand) from error


def application_environment(s3: S3Settings) -> dict[str, str]:
    """Returns the variables of driver and executors; the template refers to secrets by name."""
    return tasks.forwarded_environment() | s3_environment(s3)


def _driver_error(driver: V1Pod, subcommand: str) -> PermanentError | TransientError:
    name = driver.metadata.name
    statuses = (driver.status and driver.status.container_statuses) or []
    ended = next((s.state.terminated for s in statuses if s.state and s.state.terminated), None)
    if ended is None:
        return TransientError(
            f"the driver {name} ended without an exit code",
            hint="its node may be lost; the next try starts another driver",
        )
    return out_of_memory(
        f"the driver {name}",
        ended,
        hint="raise spec.driver.memoryOverhead in the template of the SparkApplication",
    ) or failure(subcommand, ended.exit_code, (ended.message or "").splitlines()[-20:])


def _api_error(
    error: ApiException, pod_settings: SparkPodSettings
) -> ConfigurationError | TransientError:
    if error.status in (400, 401, 403, 404, 422):
        return ConfigurationError(
            f"Kubernetes cannot run a SparkApplication in the namespace {pod_settings.namespace}",
            found=f"{error.status}: {error.body or error.reason}",
            expected="the Spark operator, and permission to use it",
            hint="install the operator, and kubectl apply -k k8s/overlays/production-spark",
        )
    return TransientError(
        "the Kubernetes API failed",
        found=f"{error.status}: {error.reason}",
        hint="the next try may succeed",
    )


def application(
    pod_settings: SparkPodSettings, arguments: list[str], environment: dict[str, str]
) -> dict[str, Any]:
    """Renders the template of the SparkApplication for a run.

    Args:
        pod_settings: template, image and number of executors.
        arguments: arguments of the application.
        environment: variables for driver and executors, without secrets; the template refers to
            those by name.

    Raises:
        ConfigurationError: the template cannot be read, or is not a SparkApplication.
    """
    path = pod_settings.template
    try:
        body = yaml.safe_load(path.read_text())
        spec = body["spec"]
        roles = [spec["driver"], spec["executor"]]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigurationError(
            "the template of the SparkApplication cannot be used",
            found=f"{path}: {error!r}",
            expected="a SparkApplication with spec.driver and spec.executor",
            hint="correct RECSYS_SPARK_POD_TEMPLATE; k8s/spark-application.yaml is an example",
        ) from error
    spec |= {"image": pod_settings.image, "arguments": arguments}
    spec["executor"]["instances"] = pod_settings.executors
    variables = [{"name": name, "value": value} for name, value in environment.items()]
    for role in roles:
        role["env"] = [*role.get("env", []), *variables]
    return {"spark": body}
