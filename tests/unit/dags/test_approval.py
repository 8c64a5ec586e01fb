"""What a person answered, or nobody did, as the release's history tells it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tests.late_module import LateModule

sdk = LateModule("airflow.sdk")
operators = LateModule("airflow.providers.standard.operators.empty")
exceptions = LateModule("airflow.sdk.exceptions")
approval = LateModule("recsys_dag.approval")
ANN = {"id": "7", "name": "Ann"}


class Instance(SimpleNamespace):
    """A task instance that stores the XComs pushed to it."""

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def xcom_pull(self, task_ids: str, key: str) -> Any:
        assert task_ids == approval.TASK_ID
        return self.xcoms.get(key)


def instance() -> Instance:
    with sdk.DAG("approval", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
        asked = approval.ReleaseApproval(task_id=approval.TASK_ID, limit=timedelta(hours=72))
        ends = [
            operators.EmptyOperator(task_id=name)
            for name in ("promote_release", "reject_candidate")
        ]
        sdk.chain(asked, ends)
    return Instance(task=asked, task_id=asked.task_id, map_index=-1, xcoms={})


@pytest.mark.parametrize(
    ("option", "user", "reason", "skipped", "answer"),
    [
        ("Approve", ANN, "", "reject_candidate", "approved by Ann, who gave no reason"),
        ("Approve", ANN, " good ", "reject_candidate", "approved by Ann: good"),
        ("Reject", ANN, "no", "promote_release", "rejected by Ann: no"),
        ("Reject", {"id": "7", "name": ""}, "no", "promote_release", "rejected by 7: no"),
        ("Reject", None, "", "promote_release", "rejected: nobody answered within 3 days"),
    ],
)
def test_an_answer_selects_one_branch_and_is_recorded(
    option: str, user: dict[str, str] | None, reason: str, skipped: str, answer: str
) -> None:
    ti = instance()
    event = {
        "chosen_options": [option],
        "params_input": {"reason": reason},
        "responded_at": datetime(2026, 1, 1, tzinfo=UTC),
        "responded_by_user": user,
        "timedout": user is None,
    }
    context: Any = {"ti": ti, "task": ti.task}
    with pytest.raises(exceptions.DownstreamTasksSkipped) as caught:
        ti.task.execute_complete(context, event)
    assert list(caught.value.tasks) == [(skipped, -1)]
    assert approval.answer(context) == answer
    assert approval.answered_by(context) == (user and (user["name"] or user["id"]))


def test_without_an_approval_nothing_is_recorded() -> None:
    context = {"ti": instance()}
    assert approval.answer(context) is None
    assert approval.answered_by(context) is None
