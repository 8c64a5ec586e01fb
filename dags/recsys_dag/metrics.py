"""Sends measurements through Airflow's metrics client (StatsD or OpenTelemetry)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from airflow.sdk.observability import stats

from recsys.monitoring import Measurement, MetricType
from recsys.recommenders import Description


def emit(measurements: Iterable[Measurement], recommender: Description) -> None:
    """Sends the measurements; does nothing if Airflow's metrics are off.

    Those of all recommenders but the first have the tag ``recommender``.
    """
    own = {} if recommender.namespace.is_first else {"recommender": recommender.name}
    for measurement in measurements:
        name, value = measurement.metric.name, measurement.value
        # StatsD tags allow few characters; a metric name such as ndcg@10 needs normalizing.
        tags = {
            tag: stats.normalize_name_for_stats(text, log_warning=False)
            for tag, text in {**measurement.tags, **own}.items()
        }
        match measurement.metric.type:
            case MetricType.COUNTER:
                stats.incr(name, int(value), tags=tags)
            case MetricType.GAUGE:
                stats.gauge(name, value, tags=tags)
            case MetricType.TIMING:
                stats.timing(name, timedelta(seconds=value), tags=tags)
