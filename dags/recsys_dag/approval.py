"""Human approval between the gate and the promotion; the answer goes into the history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from airflow.providers.standard.operators.hitl import HITLBranchOperator
from airflow.sdk import Context, Param

from recsys import monitoring, pipeline
from recsys_dag import airflow_address, approval_form, settings
from recsys_dag.approval_form import TASK_ID as TASK_ID
from recsys_dag.descriptions import of

APPROVE: Final = "Approve"
REJECT: Final = "Reject"
_WHO, _WHY = "answered_by", "answer"


class ReleaseApproval(HITLBranchOperator):
    """Waits for a person to approve or reject the accepted candidate; no answer rejects it.

    The form has an optional field for a reason. The gate's reason is recorded in any case.

    Args:
        limit: how long the person has to answer.
        kwargs: other arguments of the operator.
    """

    def __init__(self, *, limit: timedelta, **kwargs: Any) -> None:
        # Airflow merges the DAG's Params and default arguments into kwargs; these override them.
        kwargs |= {
            "subject": "Promote this release to production?",
            "options": [APPROVE, REJECT],
            "options_mapping": {APPROVE: "promote_release", REJECT: "reject_candidate"},
            "defaults": REJECT,
            "response_timeout": limit,
            "execution_timeout": None,
            "params": {
                # Airflow's form requires a field unless its type includes null.
                "reason": Param(
                    None,
                    type=["null", "string"],
                    title="Reason",
                    description="Optional; recorded in the release's history with your name",
                )
            },
        }
        super().__init__(**kwargs)

    def execute(self, context: Context) -> None:
        """Asks the person, with what the ledger knows about the release at this moment."""
        run = pipeline.Run.model_validate(
            context["ti"].xcom_pull(task_ids="data_is_new", key="run")
        )
        found = monitoring.read_approval_request(settings.services(of(context)), run.release_id)
        # Not templates: text of the ledger must not be rendered by Jinja.
        self.subject = approval_form.subject(run.release_id)
        self.body = approval_form.body(
            found,
            datetime.now(UTC),
            self.response_timeout,
            airflow_address.base_path(),
            airflow_address.page_path(of(context).namespace),
        )
        super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Pushes who answered and why to XCom, then follows the branch of the answer."""
        user, [chosen] = event["responded_by_user"], event["chosen_options"]
        person = str(user.get("name") or user["id"]) if user else None
        verdict = "approved" if chosen == APPROVE else "rejected"
        why = str((event["params_input"] or {}).get("reason") or "").strip()
        if person is None:
            answer_text = f"{verdict}: nobody answered within {_in_words(self.response_timeout)}"
        else:
            answer_text = f"{verdict} by {person}" + (f": {why}" if why else ", who gave no reason")
        context["ti"].xcom_push(key=_WHO, value=person)
        context["ti"].xcom_push(key=_WHY, value=answer_text)
        return super().execute_complete(context, event)


def _in_words(limit: timedelta | None) -> str:
    if limit is None:
        return "the time"
    if limit % timedelta(days=1):
        return f"{limit / timedelta(hours=1):g} hours"
    return f"{limit.days} days" if limit.days > 1 else "a day"


def answered_by(context: Any) -> str | None:
    """Returns the person who answered in this run; None if nobody answered or no one was asked."""
    person: str | None = context["ti"].xcom_pull(task_ids=TASK_ID, key=_WHO)
    return person


def answer(context: Any) -> str | None:
    """Returns the answer of this run as a sentence for the history; None if no one was asked."""
    sentence: str | None = context["ti"].xcom_pull(task_ids=TASK_ID, key=_WHY)
    return sentence
