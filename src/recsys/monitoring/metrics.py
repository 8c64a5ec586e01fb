"""Metrics of the pipeline: names, units, and the measurements of each step's result.

`recsys_dag.metrics` sends measurements through Airflow's metrics, that is StatsD or OpenTelemetry,
as Airflow is configured. docs/monitoring.md lists all metrics.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from recsys.dataset import FetchedDataset
    from recsys.features import Drift, Stats
    from recsys.gate import Decision
    from recsys.pipeline import Verdict


class MetricType(StrEnum):
    """Metric types of StatsD."""

    COUNTER = "counter"
    GAUGE = "gauge"
    TIMING = "timing"
    """In seconds; StatsD sends milliseconds."""


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        name: dotted, with the prefix ``recsys.``.
        type: counter, gauge or timing.
        meaning: what it measures, and the unit if the name does not contain it.
        tags: names of its tags.
    """

    name: str
    type: MetricType
    meaning: str
    tags: tuple[str, ...] = ()

    def __call__(self, value: float, **tags: str) -> Measurement:
        """Returns a measurement of this metric."""
        if set(tags) != set(self.tags):
            raise ValueError(f"{self.name}: found tags {sorted(tags)}, expected {self.tags}")
        return Measurement(self, value, tags)

    @property
    def prometheus(self) -> str:
        """Name in Prometheus, after the exporter of docker/monitoring/statsd.yaml."""
        suffix = {
            MetricType.COUNTER: "_total",
            MetricType.TIMING: "_seconds",
            MetricType.GAUGE: "",
        }[self.type]
        return self.name.replace(".", "_") + suffix


@dataclass(frozen=True)
class Measurement:
    """One value of a metric."""

    metric: Metric
    value: float
    tags: Mapping[str, str] = field(default_factory=dict)


BUILDS: Final = Metric(
    "recsys.builds", MetricType.COUNTER, "runs, by whether their build was new", ("verdict",)
)
FETCHED_BYTES: Final = Metric(
    "recsys.fetched.bytes", MetricType.COUNTER, "bytes of datasets downloaded to the object store"
)
DATASET_ROWS: Final = Metric(
    "recsys.dataset.rows",
    MetricType.GAUGE,
    "rows of the newest dataset: read, interactions, train, holdout",
    ("part",),
)
DATASET_QUARANTINE: Final = Metric(
    "recsys.dataset.quarantine",
    MetricType.GAUGE,
    "quarantined rows of the newest dataset, by the rule they violate",
    ("rule",),
)
DATASET_NEWEST: Final = Metric(
    "recsys.dataset.newest_timestamp_seconds", MetricType.GAUGE, "time of its newest rating"
)
DATASET_DRIFT: Final = Metric(
    "recsys.dataset.drift", MetricType.GAUGE, "distance from the champion's dataset", ("measure",)
)
GATE_DECISIONS: Final = Metric(
    "recsys.gate.decisions", MetricType.COUNTER, "candidates judged", ("decision",)
)
GATE_FAILURES: Final = Metric(
    "recsys.gate.failures", MetricType.COUNTER, "binding rules that a candidate failed", ("rule",)
)
PROMOTION_DURATION: Final = Metric(
    "recsys.promotion.duration",
    MetricType.TIMING,
    "from taking the lock to writing the public pointer",
)
PROMOTION_STALL: Final = Metric(
    "recsys.promotion.stall",
    MetricType.TIMING,
    "from opening the journal to switching the tables: the longest time for which "
    "latest_model.keras can have differed from the tables",
)

MEASURED: Final = Metric(
    "recsys.measured_timestamp_seconds", MetricType.GAUGE, "when the ledger was last measured"
)
LAST_SUCCESS: Final = Metric(
    "recsys.last_success_timestamp_seconds",
    MetricType.GAUGE,
    "when a run last judged a candidate or found nothing new",
)
CHAMPION_PROMOTED: Final = Metric(
    "recsys.champion.promoted_timestamp_seconds", MetricType.GAUGE, "when the champion was promoted"
)
CHAMPION_QUALITY: Final = Metric(
    "recsys.champion.quality",
    MetricType.GAUGE,
    "the champion's metrics on its holdout",
    ("metric",),
)
FORWARD_REALIZED: Final = Metric(
    "recsys.forward.realized",
    MetricType.GAUGE,
    "the champion's metrics on ratings newer than its dataset, at the last forward test",
    ("metric",),
)
FORWARD_PROMISED: Final = Metric(
    "recsys.forward.promised",
    MetricType.GAUGE,
    "the same metrics on the holdout, when it was promoted",
    ("metric",),
)
FORWARD_RATINGS: Final = Metric(
    "recsys.forward.ratings",
    MetricType.GAUGE,
    "newer ratings of that forward test; 0: too few, or the champion was not tested",
)
FORWARD_DECAYED: Final = Metric(
    "recsys.forward.decayed",
    MetricType.GAUGE,
    "metrics of the champion that are surely worse than promised",
)
FORWARD_COVERAGE: Final = Metric(
    "recsys.forward.coverage",
    MetricType.GAUGE,
    "share of all forward tests of champions whose metric was in the promised interval",
    ("metric",),
)
JOURNAL_AGE: Final = Metric(
    "recsys.journal.age_seconds", MetricType.GAUGE, "age of the open journal; 0: none is open"
)
RELEASES: Final = Metric("recsys.releases", MetricType.GAUGE, "releases in the ledger", ("state",))
EVENTS: Final = Metric(
    "recsys.events", MetricType.GAUGE, "events in the history, by kind of alert", ("kind",)
)
EVENT_NEWEST: Final = Metric(
    "recsys.events.newest_timestamp_seconds",
    MetricType.GAUGE,
    "time of the newest event, by kind of alert; 0: there was none",
    ("kind",),
)
UNDELIVERED: Final = Metric(
    "recsys.alerts.untold",
    MetricType.GAUGE,
    "alerts of the last week that were attempted and not delivered",
    ("channel",),
)

METRICS: Final = tuple(value for value in list(vars().values()) if isinstance(value, Metric))


def verdict_measurements(verdict: Verdict) -> Iterator[Measurement]:
    """Yields the measurements of `pipeline.data_is_new`."""
    yield BUILDS(1, verdict="new" if verdict.is_new else "known")


def fetch_measurements(fetched: FetchedDataset) -> Iterator[Measurement]:
    """Yields the measurements of `pipeline.fetch_dataset`."""
    if fetched.fetched:
        yield FETCHED_BYTES(fetched.size)


def feature_measurements(stats: Stats) -> Iterator[Measurement]:
    """Yields the measurements of `pipeline.generate_data_frames`.

    Every rule is measured, so that the gauge of a rule that no row violates returns to 0.
    """
    from recsys.features import Rule

    yield DATASET_ROWS(sum(file.rows for file in stats.files.values()), part="read")
    for part in ("interactions", "train", "holdout"):
        yield DATASET_ROWS(getattr(stats, part), part=part)
    for rule in Rule:
        rows = sum(file.quarantine.get(rule, 0) for file in stats.files.values())
        yield DATASET_QUARANTINE(rows, rule=rule.value)
    yield DATASET_NEWEST(stats.last_timestamp)


def drift_measurements(drift: Drift | None) -> Iterator[Measurement]:
    """Yields the measurements of `pipeline.measure_drift`; none if drift was not measured."""
    if drift is not None:
        for measure, value in drift.measures().items():
            yield DATASET_DRIFT(value, measure=measure)


def decision_measurements(decision: Decision) -> Iterator[Measurement]:
    """Yields the measurements of a decision of the gate."""
    yield GATE_DECISIONS(1, decision="accept" if decision.accepted else "reject")
    for rule in decision.rules:
        if rule.binding and not rule.passed:
            yield GATE_FAILURES(1, rule=rule.name)


class SwitchTimer:
    """A `releases.recovery.Trace` that times a promotion or rollback."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def __call__(self, step: str) -> None:
        """Records the time at which a step is reached."""
        self._at[step] = time.monotonic()

    def measurements(self) -> Iterator[Measurement]:
        """Yields the durations; none if the champion did not change."""
        at = self._at
        if "switched" in at:
            yield PROMOTION_STALL(at["switched"] - at["journal opened"])
        if "pointer written" in at:
            yield PROMOTION_DURATION(at["pointer written"] - at["lock taken"])
