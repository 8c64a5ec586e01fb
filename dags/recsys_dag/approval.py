"""A person's word between the gate and production; who said what, and why, is for the history."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from airflow.providers.standard.operators.hitl import HITLBranchOperator
from airflow.sdk import Context, Param

TASK_ID: Final = "approve_release"
APPROVE: Final = "Approve"
REJECT: Final = "Reject"
_TIME_TO_ANSWER: Final = timedelta(days=3)
_WHO, _WHY = "answered_by", "answer"


class ReleaseApproval(HITLBranchOperator):
    """Asks whether the accepted candidate is to be promoted; no answer means no.

    The form takes a reason, which is optional: the gate's stands in the history in any case.
    """

    def __init__(self, **kwargs: Any) -> None:
        # Airflow adds the DAG's Params and default arguments to what it is given: ours come last.
        kwargs |= {
            "subject": "Promote this release to production?",
            "body": "The gate accepted it: "
            "{{ ti.xcom_pull(task_ids='gate_candidate', key='reason') }}",
            "options": [APPROVE, REJECT],
            "options_mapping": {APPROVE: "promote_release", REJECT: "reject_candidate"},
            "defaults": REJECT,
            "response_timeout": _TIME_TO_ANSWER,
            "execution_timeout": None,
            "params": {
                "reason": Param(
                    "",
                    type="string",
                    title="Reason",
                    description="Goes into the release's history with your name",
                )
            },
        }
        super().__init__(**kwargs)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Goes on where the answer leads, and leaves who gave it and why to the next task."""
        user, [chosen] = event["responded_by_user"], event["chosen_options"]
        person = str(user.get("name") or user["id"]) if user else None
        verdict = "approved" if chosen == APPROVE else "rejected"
        why = str((event["params_input"] or {}).get("reason") or "").strip()
        if person is None:
            told = f"{verdict}: nobody answered within {_TIME_TO_ANSWER.days} days"
        else:
            told = f"{verdict} by {person}" + (f": {why}" if why else ", who gave no reason")
        context["ti"].xcom_push(key=_WHO, value=person)
        context["ti"].xcom_push(key=_WHY, value=told)
        return super().execute_complete(context, event)


def answered_by(context: Any) -> str | None:
    """The person who answered in this run; None: nobody did, or was asked."""
    found: str | None = context["ti"].xcom_pull(task_ids=TASK_ID, key=_WHO)
    return found


def answer(context: Any) -> str | None:
    """What was answered in this run, as a sentence for the history; None: nobody was asked."""
    found: str | None = context["ti"].xcom_pull(task_ids=TASK_ID, key=_WHY)
    return found
