"""The JSON of the overview, which the page ``/overview.json`` returns."""

from __future__ import annotations

from datetime import UTC, datetime

from recsys.contract import Baselines, Metrics, Scores
from recsys.ledger import State
from recsys.monitoring import ReleaseSummary
from tests.metrics_maker import GOOD


def summary(metrics: Scores, baselines: Baselines) -> ReleaseSummary:
    return ReleaseSummary(
        release_id="0123abcd-0123abcd",
        state=State.CANDIDATE,
        dataset_md5="0" * 32,
        trainer_digest=f"sha256:{'a' * 64}",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        promoted_at=None,
        metrics=metrics,
        baselines=baselines,
        decision=None,
        can_be_rolled_back_to=False,
    )


def test_metrics_have_the_layout_of_the_stored_metrics() -> None:
    metrics = Metrics.model_validate(GOOD)
    document = summary(metrics.model, metrics.baselines).model_dump(mode="json")
    assert document["metrics"] == GOOD["model"]
    assert document["baselines"] == GOOD["baselines"]


def test_a_release_without_metrics_has_empty_objects() -> None:
    document = summary(Scores(), Baselines()).model_dump(mode="json")
    assert (document["metrics"], document["baselines"]) == ({}, {})
