"""What a person has to know before they approve a candidate."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from recsys import ledger
from recsys.contract import METRICS_SCHEMA, Metrics
from recsys.database import Connection
from recsys.errors import ArtifactError
from recsys.gate import Decision
from recsys.ledger import Release, State
from recsys.services import Services

log = logging.getLogger(__name__)

_SHOWN: Final = (
    ("rmse", "RMSE", True, "bias"),
    ("ndcg@10", "NDCG@10", False, "popularity"),
    ("recall@20", "Recall@20", False, "popularity"),
    ("coverage", "Coverage", False, "popularity"),
)
_EVENTS: Final = 500


class ComparedMetric(BaseModel):
    """A metric of the candidate beside those of the champion and of a baseline.

    Attributes:
        name: its name for people.
        less_is_better: whether a lower value is better.
        value: the candidate's on the whole holdout.
        baseline: name of the baseline.
        baseline_value: its metric on the same holdout; None if not measured.
        same_pairs: the candidate's on the pairs that the champion was evaluated on; None without
            a comparison.
        champion: the champion's on these pairs.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    less_is_better: bool
    value: float
    baseline: str
    baseline_value: float | None
    same_pairs: float | None
    champion: float | None

    @property
    def change(self) -> float | None:
        """The candidate's change against the champion as a share; None without a comparison."""
        if self.same_pairs is None or not self.champion:
            return None
        return self.same_pairs / self.champion - 1


class Rollback(BaseModel):
    """A rollback of a release in the past.

    Attributes:
        at: when.
        actor: who.
        reason: why.
    """

    model_config = ConfigDict(frozen=True)

    at: datetime
    actor: str
    reason: str


class ApprovalRequest(BaseModel):
    """A candidate that waits for a person's approval.

    Attributes:
        release_id: the candidate.
        state: its lifecycle state; a forced run may judge an earlier champion again.
        dataset_md5: the dataset of its build.
        champion: the champion that the gate compared it with; None if there was none.
        champion_since: when that release was promoted.
        decision: the gate's decision; None if the ledger has none.
        diff: the stored result of `recsys.releases.compare_releases`; None without a champion.
        metrics: the metrics that the candidate has.
        rolled_back: the newest rollback of this same release; None if there was none.
    """

    model_config = ConfigDict(frozen=True)

    release_id: str
    state: State
    dataset_md5: str
    champion: str | None
    champion_since: datetime | None
    decision: Decision | None
    diff: dict[str, Any] | None
    metrics: tuple[ComparedMetric, ...]
    rolled_back: Rollback | None


def read_approval_request(services: Services, release_id: str) -> ApprovalRequest:
    """Reads what the ledger knows about a candidate that waits for approval.

    Raises:
        LedgerError: the release is unknown.
        ServiceUnavailableError: PostgreSQL does not respond.
    """
    with services.connect() as conn:
        release = ledger.get(conn, release_id)
        decided = ledger.last_decision(conn, release_id)
        champion_id = ledger.judged_against(conn, release_id)
        champion = ledger.find(conn, champion_id) if champion_id else None
        return ApprovalRequest(
            release_id=release_id,
            state=release.state,
            dataset_md5=release.dataset_md5,
            champion=champion_id,
            champion_since=champion.promoted_at if champion else None,
            decision=decided[0] if decided else None,
            diff=decided[1] if decided else None,
            metrics=compared_metrics(_metrics(release)),
            rolled_back=_last_rollback(conn, release_id),
        )


def compared_metrics(metrics: Metrics) -> tuple[ComparedMetric, ...]:
    """Returns the main metrics of a candidate beside those of its champion and a baseline."""
    champion, baselines = metrics.champion, metrics.baselines.by_name()
    return tuple(
        ComparedMetric(
            name=title,
            less_is_better=less_is_better,
            value=value,
            baseline=baseline,
            baseline_value=baselines[baseline].value(name) if baseline in baselines else None,
            same_pairs=champion.candidate.value(name) if champion else None,
            champion=champion.value(name) if champion else None,
        )
        for name, title, less_is_better, baseline in _SHOWN
        if (value := metrics.model.value(name)) is not None
    )


def _metrics(release: Release) -> Metrics:
    """Returns the metrics of the release; empty ones if its manifest is damaged."""
    try:
        return release.metrics or Metrics(metrics_schema=METRICS_SCHEMA)
    except ArtifactError as error:
        log.warning("the metrics are not shown: %s", error)
        return Metrics(metrics_schema=METRICS_SCHEMA)


def _last_rollback(conn: Connection, release_id: str) -> Rollback | None:
    for event in ledger.history(conn, release_id, limit=_EVENTS):
        if event["to_state"] == State.ROLLED_BACK:
            return Rollback(at=event["at"], actor=event["actor"], reason=event["reason"])
    return None
