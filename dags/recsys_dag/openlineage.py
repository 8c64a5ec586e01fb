"""OpenLineage extractor: inputs and outputs of the weekly DAG's tasks.

Only Airflow's OpenLineage provider imports this module, because of the setting
``AIRFLOW__OPENLINEAGE__EXTRACTORS=recsys_dag.openlineage.StepExtractor``.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.openlineage.extractors import BaseExtractor, OperatorLineage
from openlineage.client.event_v2 import Dataset
from openlineage.client.facet_v2 import dataset_version_dataset, tags_dataset

from recsys.errors import ConfigurationError
from recsys.monitoring import LineageDataset, step_lineage
from recsys.pipeline import Run
from recsys_dag import descriptions, settings


class StepExtractor(BaseExtractor):
    """Extracts inputs and outputs of the weekly DAG's tasks; returns nothing for other DAGs."""

    @classmethod
    def get_operator_classnames(cls) -> list[str]:
        """Names the operator classes that the weekly DAG uses."""
        return [
            "_PythonDecoratedOperator",
            "_BranchPythonDecoratedOperator",
            "TrainerPod",
            "TrainerContainer",
        ]

    def _execute_extraction(self) -> OperatorLineage[Any, Any] | None:
        """Returns None: inputs and outputs are only known after the task has run."""
        return None

    def extract_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """Returns what the task read and wrote."""
        dag_id = self.operator.dag_id
        try:
            recommender = descriptions.of_dag(dag_id)
        except ConfigurationError:
            return None
        if dag_id != recommender.namespace.weekly_dag:
            return None
        run = task_instance.xcom_pull(task_ids="data_is_new", key="run")
        if run is None:
            return None
        found = step_lineage(
            settings.services(recommender), Run.model_validate(run), self.operator.task_id
        )
        if found is None:
            return None
        return OperatorLineage(
            inputs=[_dataset(place) for place in found.inputs],
            outputs=[_dataset(place) for place in found.outputs],
        )

    def extract_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """Returns the inputs only: outputs of a failed task are not valid."""
        found = self.extract_on_complete(task_instance)
        return found and OperatorLineage(inputs=found.inputs)


def _dataset(place: LineageDataset) -> Dataset:
    tags = [
        tags_dataset.TagsDatasetFacetFields(key=name, value=value, source="recsys")
        for name, value in place.facts.items()
    ]
    identity = place.facts.get("release_id", place.facts["dataset_md5"])
    return Dataset(
        namespace=place.namespace,
        name=place.name,
        facets={
            "version": dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=identity),
            "tags": tags_dataset.TagsDatasetFacet(tags=tags),
        },
    )
