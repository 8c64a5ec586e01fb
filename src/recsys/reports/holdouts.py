"""The holdouts beside each user's newest ratings, as a table of the release report."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from recsys.contract import ChampionScores, HoldoutMetrics, Metrics

_LARGEST_TIME: Final = 2**37
Row = tuple[Any, ...]


def rows(metrics: Metrics) -> list[Row]:
    """Returns one row for each measured holdout, none if only the newest ratings were measured.

    A row has the name, ratings, users, ranked users, RMSE of candidate, bias model and champion,
    and NDCG@10 of candidate, popularity and champion.
    """
    return list(_rows(metrics))


def _rows(metrics: Metrics) -> Iterator[Row]:
    if metrics.time_holdout is None and metrics.last_visit is None:
        return
    yield _row("newest ratings of each user", metrics)
    if (part := metrics.time_holdout) is not None:
        since = ""
        if part.moment is not None and 0 <= part.moment < _LARGEST_TIME:
            since = f" {datetime.fromtimestamp(part.moment, UTC):%Y-%m-%d}"
        yield _row(f"all ratings from{since or ' one moment'} on", part)
        for dimension, by_name in (part.slices or {}).items():
            for name, scores in by_name.items():
                champion = scores.champion or ChampionScores()
                yield (
                    f"\u2026 {dimension}: {name}",
                    scores.rows,
                    scores.users,
                    None,
                    scores.rmse,
                    scores.baselines.bias.rmse,
                    champion.rmse,
                    scores.ndcg_10,
                    scores.baselines.popularity.ndcg_10,
                    champion.ndcg_10,
                )
    if metrics.last_visit is not None:
        yield _row("last visit: newest ratings a day or more after the others", metrics.last_visit)


def _row(name: str, part: HoldoutMetrics) -> Row:
    champion = part.champion or ChampionScores()
    return (
        name,
        part.holdout.rows,
        part.holdout.users,
        part.holdout.ranked_users,
        part.model.rmse,
        part.baselines.bias.rmse,
        champion.rmse,
        part.model.ndcg_10,
        part.baselines.popularity.ndcg_10,
        champion.ndcg_10,
    )
