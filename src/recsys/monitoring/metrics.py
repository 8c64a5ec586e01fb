"""What is measured about the pipeline: names, units, and how results become measurements.

Nothing is sent from here. `recsys_dag.metrics` hands measurements to Airflow's own metrics, which
go by StatsD or OpenTelemetry, as Airflow is set up; docs/monitoring.md lists them all.
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

PREFIX: Final = "recsys."


class Kind(StrEnum):
    """How values of a metric add up."""

    COUNTER = "counter"
    GAUGE = "gauge"
    TIMING = "timing"
    """Seconds here; StatsD carries milliseconds."""


@dataclass(frozen=True)
class Metric:
    """One thing that is measured.

    Attributes:
        name: dotted, below ``recsys.``.
        kind: how its values add up.
        meaning: with the unit, where the name does not say it.
        tags: names of what its values are told apart by.
    """

    name: str
    kind: Kind
    meaning: str
    tags: tuple[str, ...] = ()

    def __call__(self, value: float, **tags: str) -> Measurement:
        """A measurement of it."""
        if set(tags) != set(self.tags):
            raise ValueError(f"{self.name}: found tags {sorted(tags)}, expected {self.tags}")
        return Measurement(self, value, tags)

    @property
    def prometheus(self) -> str:
        """Its name in Prometheus, behind the exporter of docker/monitoring/statsd.yaml."""
        suffix = {Kind.COUNTER: "_total", Kind.TIMING: "_seconds", Kind.GAUGE: ""}[self.kind]
        return self.name.replace(".", "_") + suffix


@dataclass(frozen=True)
class Measurement:
    """One value of a metric."""

    metric: Metric
    value: float
    tags: Mapping[str, str] = field(default_factory=dict)


BUILDS: Final = Metric(
    "recsys.builds", Kind.COUNTER, "runs that looked at a build, by what they found", ("verdict",)
)
FETCHED_BYTES: Final = Metric(
    "recsys.fetched.bytes", Kind.COUNTER, "bytes of datasets brought into the store"
)
DATASET_ROWS: Final = Metric(
    "recsys.dataset.rows",
    Kind.GAUGE,
    "rows of the newest dataset: read, interactions, train, holdout",
    ("part",),
)
DATASET_QUARANTINE: Final = Metric(
    "recsys.dataset.quarantine",
    Kind.GAUGE,
    "rows of the newest dataset kept apart, by the rule they broke",
    ("rule",),
)
DATASET_NEWEST: Final = Metric(
    "recsys.dataset.newest_timestamp_seconds", Kind.GAUGE, "when its newest rating was given"
)
DATASET_DRIFT: Final = Metric(
    "recsys.dataset.drift", Kind.GAUGE, "distance from the champion's dataset", ("measure",)
)
GATE_DECISIONS: Final = Metric(
    "recsys.gate.decisions", Kind.COUNTER, "candidates judged", ("decision",)
)
GATE_FAILURES: Final = Metric(
    "recsys.gate.failures", Kind.COUNTER, "binding rules that a candidate failed", ("rule",)
)
PROMOTION_DURATION: Final = Metric(
    "recsys.promotion.duration", Kind.TIMING, "from the lock to the public pointer"
)
PROMOTION_STALL: Final = Metric(
    "recsys.promotion.stall",
    Kind.TIMING,
    "from the open journal to the switched tables: the longest that latest_model.keras can have "
    "differed from the tables",
)

MEASURED: Final = Metric(
    "recsys.measured_timestamp_seconds", Kind.GAUGE, "when the ledger was last measured"
)
LAST_SUCCESS: Final = Metric(
    "recsys.last_success_timestamp_seconds",
    Kind.GAUGE,
    "when a run last judged a candidate or found nothing new",
)
CHAMPION_PROMOTED: Final = Metric(
    "recsys.champion.promoted_timestamp_seconds", Kind.GAUGE, "when the champion became it"
)
CHAMPION_QUALITY: Final = Metric(
    "recsys.champion.quality", Kind.GAUGE, "the champion's metrics on its holdout", ("metric",)
)
JOURNAL_AGE: Final = Metric(
    "recsys.journal.age_seconds", Kind.GAUGE, "age of the open journal; 0: none is open"
)
RELEASES: Final = Metric("recsys.releases", Kind.GAUGE, "releases in the ledger", ("state",))
EVENTS: Final = Metric(
    "recsys.events", Kind.GAUGE, "how often it has happened, by kind of alert", ("kind",)
)
UNTOLD: Final = Metric(
    "recsys.alerts.untold", Kind.GAUGE, "alerts that no receiver has taken yet", ("channel",)
)

METRICS: Final = tuple(value for value in list(vars().values()) if isinstance(value, Metric))


def of_verdict(verdict: Verdict) -> Iterator[Measurement]:
    """What `pipeline.data_is_new` found."""
    yield BUILDS(1, verdict="new" if verdict.is_new else "known")


def of_fetch(fetched: FetchedDataset) -> Iterator[Measurement]:
    """What `pipeline.fetch_dataset` did."""
    if fetched.fetched:
        yield FETCHED_BYTES(fetched.size)


def of_features(stats: Stats) -> Iterator[Measurement]:
    """What `pipeline.generate_data_frames` found.

    Every rule is measured, so that a rule that no row breaks any more falls back to 0.
    """
    from recsys.features import Rule

    yield DATASET_ROWS(sum(file.rows for file in stats.files.values()), part="read")
    for part in ("interactions", "train", "holdout"):
        yield DATASET_ROWS(getattr(stats, part), part=part)
    for rule in Rule:
        rows = sum(file.quarantine.get(rule, 0) for file in stats.files.values())
        yield DATASET_QUARANTINE(rows, rule=rule.value)
    yield DATASET_NEWEST(stats.last_timestamp)


def of_drift(drift: Drift | None) -> Iterator[Measurement]:
    """What `pipeline.measure_drift` found; nothing where there was nothing to compare with."""
    if drift is not None:
        for measure, value in drift.measures().items():
            yield DATASET_DRIFT(value, measure=measure)


def of_decision(decision: Decision) -> Iterator[Measurement]:
    """What the gate decided."""
    yield GATE_DECISIONS(1, decision="accept" if decision.accepted else "reject")
    for rule in decision.rules:
        if rule.binding and not rule.passed:
            yield GATE_FAILURES(1, rule=rule.name)


class SwitchTimes:
    """A `recovery.Trace` that takes the time of a promotion or rollback."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def __call__(self, step: str) -> None:
        """Notes when a step was reached."""
        self._at[step] = time.monotonic()

    def measurements(self) -> Iterator[Measurement]:
        """How long it took; nothing where nothing was switched."""
        at = self._at
        if "switched" in at:
            yield PROMOTION_STALL(at["switched"] - at["journal opened"])
        if "pointer written" in at:
            yield PROMOTION_DURATION(at["pointer written"] - at["lock taken"])
