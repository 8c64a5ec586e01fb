"""Measurements of the domain -> Airflow's own metrics: StatsD or OpenTelemetry, as it is set up."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from airflow.sdk.observability import stats

from recsys.monitoring import Measurement, MetricType


def emit(measurements: Iterable[Measurement]) -> None:
    """Sends them; does nothing where Airflow's metrics are off."""
    for measurement in measurements:
        name, value = measurement.metric.name, measurement.value
        # StatsD's tags take a few characters only, and a metric like ndcg@10 has others.
        tags = {
            tag: stats.normalize_name_for_stats(text, log_warning=False)
            for tag, text in measurement.tags.items()
        }
        match measurement.metric.type:
            case MetricType.COUNTER:
                stats.incr(name, int(value), tags=tags)
            case MetricType.GAUGE:
                stats.gauge(name, value, tags=tags)
            case MetricType.TIMING:
                stats.timing(name, timedelta(seconds=value), tags=tags)
