"""Rules on the dataset beside the champion's: what is gone from it, and how it drifted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from recsys.gate.judged import JudgedMetrics
from recsys.gate.measures import RuleResult, compare, result
from recsys.gate.settings import GateSettings

SHIFTED_POPULATION: Final = 0.25
"""A population stability index above this means that the population has changed (Siddiqi 2006)."""


def ids_changed(candidate: JudgedMetrics, settings: GateSettings) -> bool:
    """Whether ids mean other users or movies than in the champion's dataset."""
    share = (candidate.drift or {}).get("changed_pairs")
    return share is not None and share > settings.max_changed_pairs


def vanished(metrics: JudgedMetrics, settings: GateSettings) -> Iterator[RuleResult]:
    """Limits the share of the champion's users, movies and ratings that the dataset no longer has.

    They would lose their recommendations, and no metric shows it: the holdout has only what is
    still there. Nothing is returned for what was not measured, and nothing about ratings if ids
    changed, because all of them are missing then. The rules do not bind in a run for which a person
    has accepted the drift.
    """
    for name, measure, limit, what in (
        ("vanished_users", "vanished_users", settings.max_vanished_users, "users"),
        ("vanished_movies", "vanished_movies", settings.max_vanished_movies, "rated movies"),
        (
            "vanished_ratings",
            "changed_pairs",
            settings.max_vanished_ratings,
            "ratings, by users and of movies that are still there,",
        ),
    ):
        share = (metrics.drift or {}).get(measure)
        other_ids = measure == "changed_pairs" and ids_changed(metrics, settings)
        if share is not None and not other_ids:
            yield result(
                name,
                f"share of the {what} of the champion's dataset that this one does not have",
                "at most",
                share,
                limit,
                binding=not metrics.drift_accepted,
                more="; a person accepted the drift" if metrics.drift_accepted else "",
            )


def drift(metrics: JudgedMetrics) -> RuleResult | None:
    """Shows the drift from the champion's dataset; it is not binding. None if not measured."""
    found = {
        name: value
        for name, value in (metrics.drift or {}).items()
        if name.startswith("psi_") and value is not None
    }
    if not found:
        return None
    largest = max(found, key=lambda name: found[name])
    return compare(
        "drift",
        f"drift from the champion's dataset, largest population stability index ({largest[:40]})",
        "at most",
        lambda: (found[largest], SHIFTED_POPULATION),
        binding=False,
    )
