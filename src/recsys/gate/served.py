"""The gate's rules about what the site would get: the served tables and the served model.

All other rules judge files of the candidate. docs/adr/0021-what-is-served-is-judged.md gives the
reasons for these rules and limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from recsys.gate.facts import ServedFacts, TableFacts
from recsys.gate.judged import JudgedMetrics
from recsys.gate.measures import InvalidMetricError, RuleResult, compare, in_range, invalid, score
from recsys.gate.settings import GateSettings

_TABLES: Final = ("user_towers", "movie_towers", "movie_vectors")


def served_tables(metrics: JudgedMetrics, settings: GateSettings) -> Iterator[RuleResult]:
    """Requires the tables to hold the dataset's ids, and to recommend what was evaluated.

    Yields nothing if the pipeline did not measure the tables, and leaves out comparisons with
    artifacts that an earlier trainer did not make.
    """
    served = metrics.served
    if served is None:
        return
    for name in _TABLES:
        yield from _table(name, getattr(served, name), settings)
    yield compare(
        "served_content_movie_vectors",
        "1 if the content of movie_vectors is not what the pipeline computed and loaded",
        "at most",
        lambda: (_count(served.movie_vectors, "changed", "movie_vectors"), 0),
    )
    yield compare(
        "served_seen",
        "users whose list of seen movies is not their interactions, newest first",
        "at most",
        lambda: (max(_count(served, "seen_counts"), served.seen or 0), 0),
        more=f"; the content was compared for {served.asked or 0} users, the number for all",
    )
    if served.golden_users is not None:
        yield compare(
            "served_as_recorded",
            "share of the trainer's golden recommendations that the served tables recommend",
            "at least",
            lambda: (_golden(served), settings.min_golden_share),
        )
    if served.evaluated_users is not None:
        yield compare(
            "served_as_evaluated",
            "share of the evaluated towers' recommendations that the served tables recommend",
            "at least",
            lambda: (_evaluated(served, "evaluated"), settings.min_evaluated_share),
        )
        yield compare(
            "served_to_their_users",
            "the same share, as a multiple of what they recommend of another user's list",
            "at least",
            lambda: (
                _evaluated(served, "evaluated") / max(_evaluated(served, "of_others"), 1e-3),
                settings.min_share_over_others,
            ),
        )


def served_model(metrics: JudgedMetrics, settings: GateSettings) -> Iterator[RuleResult]:
    """Requires the served model to know the whole dataset and to predict the holdout better.

    It was fitted to the holdout, so its RMSE there must not be above the evaluated model's. The
    rule is left out for a release whose trainer did not record the RMSE.
    """
    served, serving = metrics.served, metrics.serving
    if served is not None:
        yield compare(
            "served_interactions",
            "rows by which the dataset differs from what the served models were fitted to",
            "at most",
            lambda: (abs(_count(served, "interactions") - _count(served, "fitted_to")), 0),
        )
    # `judged_metrics` has put the verifier's number in the place of the trainer's.
    rmse = serving.rmse if serving is not None else None
    if served is not None and served.rmse is not None:
        rmse = served.rmse
    if rmse is None:
        return
    is_measured = metrics.measured is not None or (served is not None and served.rmse is not None)
    by = "measured by the pipeline" if is_measured else "by the trainer"
    yield compare(
        "served_rmse",
        f"RMSE on the holdout of the served model, which was fitted to it ({by})",
        "at most",
        lambda: (rmse, score(metrics.model, "rmse", "model") * (1 + settings.max_served_rmse_rise)),
    )


def _table(name: str, table: TableFacts, settings: GateSettings) -> Iterator[RuleResult]:
    yield compare(
        f"served_rows_{name}",
        f"rows by which {name} differs from the number in the manifest or the ledger",
        "at most",
        lambda: (abs(_count(table, "rows", name) - _count(table, "stated", name)), 0),
        more=f"; found {table.rows}, expected {table.stated}",
    )
    yield compare(
        f"served_ids_{name}",
        f"ids by which {name} differs from the dataset",
        "at most",
        lambda: (_count(table, "missing", name) + _count(table, "unknown", name), 0),
        more=f"; {table.missing} are missing, {table.unknown} are not in the dataset",
    )
    yield compare(
        f"served_distinct_{name}",
        f"different vectors in {name}, as a share of its rows",
        "at least",
        lambda: (
            _count(table, "distinct", name) / max(_count(table, "rows", name), 1),
            settings.min_distinct_vectors,
        ),
    )


def _count(part: ServedFacts | TableFacts, name: str, table: str = "") -> int:
    value: int | None = getattr(part, name)
    if value is None or value < 0:
        raise invalid(part, name, ".".join(filter(None, ("served", table, name))))
    return value


def _golden(served: ServedFacts) -> float:
    if not served.golden_users:
        raise InvalidMetricError("the golden recommendations cannot be read")
    expected = served.expected_golden_users or 0
    if served.golden_users < expected:
        raise InvalidMetricError(
            f"there are golden recommendations for {served.golden_users} users, expected {expected}"
        )
    return in_range(served, "golden", served.golden, "served.golden")


def _evaluated(served: ServedFacts, name: str) -> float:
    asked, found = served.asked or 0, served.evaluated_users or 0
    if not asked:
        raise InvalidMetricError("the tables lack the dataset's users or movies")
    if found < asked / 2:
        raise InvalidMetricError(f"{found} of {asked} users have an evaluated tower")
    return in_range(served, name, getattr(served, name), f"served.{name}")
