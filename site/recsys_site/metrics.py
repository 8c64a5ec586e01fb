"""Prometheus metrics of the site."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.exposition import generate_latest

from recsys_site.bundle import Live

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5)


class Metrics:
    """Metrics of one app; each app has its own registry."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library does not type it
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "recsys_site_requests",
            "Requests by route, method and status.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "recsys_site_request_seconds",
            "Time from the arrival of a request to the end of its response.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.release = Gauge(
            "recsys_site_release_info",
            "1 for the release that the site uses.",
            ["release_id", "dataset_md5"],
            registry=self.registry,
        )
        self.promoted = Gauge(
            "recsys_site_release_promoted_timestamp_seconds",
            "Time at which the release that the site uses became the champion.",
            registry=self.registry,
        )
        self.load = Gauge(
            "recsys_site_model_load_seconds",
            "Time that loading the release took.",
            registry=self.registry,
        )
        self.changeovers = Counter(
            "recsys_site_changeovers",
            "Releases loaded since the start, including the first one.",
            registry=self.registry,
        )
        self.degraded = Gauge(
            "recsys_site_degraded",
            "1 while the site uses the last good release because a server is unavailable.",
            registry=self.registry,
        )

    def text(self, live: Live | None, *, degraded: bool) -> bytes:
        """Renders the metrics in Prometheus' text format, with those of the given release."""
        self.degraded.set(degraded)
        if live is not None:
            self.release.clear()
            self.release.labels(live.release_id, live.dataset_md5).set(1)
            self.promoted.set(live.promoted_at.timestamp())
            self.load.set(live.model.load_seconds)
        return generate_latest(self.registry)
