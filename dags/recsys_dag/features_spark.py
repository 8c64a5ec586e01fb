"""Features as a SparkApplication. Imported only where Kubernetes runs Spark: it costs a second."""

from __future__ import annotations

from typing import Any

import yaml
from airflow.providers.cncf.kubernetes.operators.spark_kubernetes import SparkKubernetesOperator
from airflow.sdk import Context

from recsys.errors import ConfigurationError
from recsys_dag import settings, tasks
from recsys_dag.features_settings import SparkPodSettings


class FeaturesOnSpark(SparkKubernetesOperator):
    """One subcommand of `recsys.spark.application` in a SparkApplication.

    Args:
        subcommand: ``frames`` or ``vectors``.
        pod_settings: where and how.
        kwargs: as any operator takes them.
    """

    def __init__(self, *, subcommand: str, pod_settings: SparkPodSettings, **kwargs: Any) -> None:
        self.subcommand = subcommand
        self.pod_settings = pod_settings
        super().__init__(
            name=f"recsys-{subcommand}",
            namespace=pod_settings.namespace,
            kubernetes_conn_id=pod_settings.conn_id,
            # Filled in at run time; the operator refuses to have none.
            template_spec={},
            startup_timeout_seconds=pod_settings.startup_timeout_s,
            log_events_on_failure=True,
            random_name_suffix=True,
            **kwargs,
        )

    def execute(self, context: Context) -> Any:
        """Fills in the application for this run, and runs it."""
        run = tasks.run_of(context)
        s3 = settings.services().s3
        self.template_spec = application(
            self.pod_settings,
            [
                self.subcommand,
                *("--md5", run.build.dataset_md5),
                *("--settings", run.features.model_dump_json()),
            ],
            {
                "RECSYS_S3_BUCKET": s3.bucket,
                "RECSYS_S3_REGION": s3.region,
                **({"RECSYS_S3_ENDPOINT": s3.endpoint} if s3.endpoint else {}),
            },
        )
        return super().execute(context)


def application(
    pod_settings: SparkPodSettings, arguments: list[str], environment: dict[str, str]
) -> dict[str, Any]:
    """The SparkApplication of the template with what only the run knows.

    Args:
        pod_settings: template, image and size.
        arguments: of the application.
        environment: plain variables for driver and executors; secrets are in the template, by
            reference.

    Raises:
        ConfigurationError: the template cannot be read, or is no SparkApplication.
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
            hint="correct RECSYS_SPARK_POD_TEMPLATE; k8s/spark-application.yaml is one",
        ) from error
    spec |= {"image": pod_settings.image, "arguments": arguments}
    spec["executor"]["instances"] = pod_settings.executors
    told = [{"name": name, "value": value} for name, value in environment.items()]
    for role in roles:
        role["env"] = [*role.get("env", []), *told]
    return {"spark": body}
