"""Tells OpenLineage what the tasks read and write, where Airflow is set up to emit events.

Nothing imports this module but Airflow's OpenLineage provider, named by
``AIRFLOW__OPENLINEAGE__EXTRACTORS=recsys_dag.openlineage.StepExtractor``.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.openlineage.extractors import BaseExtractor, OperatorLineage
from openlineage.client.event_v2 import Dataset
from openlineage.client.facet_v2 import dataset_version_dataset, tags_dataset

from recsys.monitoring import LineageDataset, step_lineage
from recsys.pipeline import Run
from recsys_dag import settings

DAG_ID = "movie_rec_sys"


class StepExtractor(BaseExtractor):
    """Inputs and outputs of the steps of the weekly DAG; other tasks keep what they say."""

    @classmethod
    def get_operator_classnames(cls) -> list[str]:
        """The operators that the weekly DAG is made of."""
        return [
            "_PythonDecoratedOperator",
            "_BranchPythonDecoratedOperator",
            "TrainerPod",
            "TrainerContainer",
        ]

    def _execute_extraction(self) -> OperatorLineage[Any, Any] | None:
        """Before a step has run, nothing is known of it."""
        return None

    def extract_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """What the step has read and written."""
        if self.operator.dag_id != DAG_ID:
            return None
        known = task_instance.xcom_pull(task_ids="data_is_new", key="run")
        if known is None:
            return None
        found = step_lineage(settings.services(), Run.model_validate(known), self.operator.task_id)
        if found is None:
            return None
        return OperatorLineage(
            inputs=[_dataset(place) for place in found.inputs],
            outputs=[_dataset(place) for place in found.outputs],
        )

    def extract_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """A step that failed has written nothing that counts."""
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
