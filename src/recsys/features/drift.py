"""Drift of a dataset from the champion's dataset: distributions, ids, size.

The drift of a pair of datasets is measured once and stored. It is compared with the limits of
`DriftSettings` whenever a run needs a decision.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recsys import contract
from recsys.errors import DatasetError, first_invalid_field
from recsys.features.drift_settings import DriftSettings
from recsys.features.stats import Stats, read_stats
from recsys.object_store import ObjectStore
from recsys.scratch import scratch_folder

log = logging.getLogger(__name__)

_DAY: Final = 86_400


class Drift(BaseModel):
    """Differences between a dataset and the champion's; see `measure_drift`."""

    model_config = ConfigDict(frozen=True)

    md5: contract.Md5
    champion_md5: contract.Md5
    sha256: tuple[contract.Sha256, contract.Sha256] = Field(
        description="of the compared interactions: this dataset's, then the champion's"
    )
    psi: dict[str, float] = Field(
        description="population stability index of ratings, user_activity, movie_popularity, "
        "release_years and genres"
    )
    vanished_users: float = Field(description="missing share of the champion's users")
    new_users: float = Field(description="share of users who are not in the champion's dataset")
    vanished_movies: float = Field(description="missing share of the champion's rated movies")
    new_movies: float = Field(description="share of rated movies not in the champion's")
    row_growth: float = Field(description="interactions / the champion's interactions - 1")
    newest_days: float = Field(
        description="days by which the last rating is later than the champion's"
    )

    def measures(self) -> dict[str, float]:
        """Returns all measures by name."""
        names = ("vanished_users", "new_users", "vanished_movies", "new_movies", "row_growth")
        shares = {name: float(getattr(self, name)) for name in names}
        return {
            **{f"psi_{name}": value for name, value in self.psi.items()},
            **shares,
            "newest_days": self.newest_days,
        }

    def to_json(self) -> bytes:
        """Serializes the drift for the store, UTF-8."""
        return self.model_dump_json(indent=2).encode()


class Breach(BaseModel):
    """A measure of drift beyond its limit."""

    model_config = ConfigDict(frozen=True)

    measure: str
    value: float
    limit: float
    hard: bool = Field(description="true: the run fails; false: a warning")

    def __str__(self) -> str:
        return f"{self.measure} is {self.value:.3g}, limit {self.limit:.3g}"


def population_stability(now: Mapping[str, int], then: Mapping[str, int]) -> float:
    """Returns the population stability index (PSI) of two histograms with the same binning.

    The PSI is the sum over bins of (p - q) ln(p / q), where p and q are the shares of a bin
    (Siddiqi, Credit Risk Scorecards, 2006: below 0.1 no significant change, above 0.25 another
    population). Half a count is added to each bin, so an empty bin gives a finite value that
    depends on the size of the histograms. The PSI is symmetric, and 0 for equal histograms.
    """
    names = sorted(now.keys() | then.keys())
    now_sum, then_sum = (sum(bins.values()) + len(names) / 2 for bins in (now, then))
    total = 0.0
    for name in names:
        p, q = (now.get(name, 0) + 0.5) / now_sum, (then.get(name, 0) + 0.5) / then_sum
        total += (p - q) * math.log(p / q)
    return total


def find_drift_breaches(drift: Drift, settings: DriftSettings) -> list[Breach]:
    """Returns the measures beyond the limits, hard breaches first, each measure once."""
    hard, soft = (_beyond(drift, limits, is_hard) for limits, is_hard in _limits(settings))
    named = {breach.measure for breach in hard}
    return [*hard, *(breach for breach in soft if breach.measure not in named)]


def check_drift(drift: Drift, settings: DriftSettings) -> None:
    """Logs a warning for each breach; fails at a hard one unless the settings accept it.

    Raises:
        DatasetError: a measure is beyond a hard limit.
    """
    breaches = find_drift_breaches(drift, settings)
    for breach in breaches:
        log.warning("drift against dataset %s: %s", drift.champion_md5, breach)
    hard = [breach for breach in breaches if breach.hard]
    if hard and not settings.accept:
        raise DatasetError(
            "the dataset has drifted too far from the champion's",
            found="; ".join(map(str, hard)),
            expected=f"drift from dataset {drift.champion_md5} within the hard limits",
            hint="check that the dump is complete and the right one; if the change is intended, "
            "run once with accept_drift (recsys run --accept-drift), or raise the limit in "
            "RECSYS_DRIFT_SETTINGS",
        )


def read_drift(prefix: str, champion_md5: str, store: ObjectStore) -> Drift | None:
    """Reads the drift of features from a champion's dataset; None if there is no valid one."""
    key = contract.drift_key(prefix, champion_md5)
    if store.head(key) is None:
        return None
    try:
        return Drift.model_validate_json(store.get_bytes(key))
    except ValidationError as error:
        log.warning(
            "cannot read %s, so the drift is measured again: %s", key, first_invalid_field(error)
        )
        return None


def measure_drift(prefix: str, champion_prefix: str, store: ObjectStore) -> Drift | None:
    """Compares the features of a dataset with the champion's and stores the result.

    The stored result is reused while the interactions of both datasets are unchanged.

    Args:
        prefix: prefix of the dataset's features.
        champion_prefix: prefix of the features of the champion's dataset.
        store: holds both.

    Returns:
        None if the features of either dataset are missing.
    """
    stats, then = read_stats(prefix, store), read_stats(champion_prefix, store)
    if stats is None or then is None:
        return None
    sha256 = (
        stats.sha256[contract.INTERACTIONS_FILE],
        then.sha256[contract.INTERACTIONS_FILE],
    )
    stored = read_drift(prefix, then.md5, store)
    if stored is not None and stored.sha256 == sha256:
        return stored
    with scratch_folder("drift") as folder:
        now_ids, then_ids = (
            _ids(store, where, which, folder / f"{which.md5}.parquet")
            for where, which in ((prefix, stats), (champion_prefix, then))
        )
    drift = compute_drift(stats, then, now_ids, then_ids)
    store.put_bytes(contract.drift_key(prefix, then.md5), drift.to_json())
    return drift


def compute_drift(
    now: Stats, then: Stats, now_ids: Mapping[str, pl.Series], then_ids: Mapping[str, pl.Series]
) -> Drift:
    """Computes the drift between two datasets.

    Args:
        now: statistics of the dataset.
        then: statistics of the champion's dataset.
        now_ids: unique ``userId`` and ``movieId`` of the dataset's interactions.
        then_ids: unique ``userId`` and ``movieId`` of the champion's interactions.
    """
    names = ("ratings", "user_activity", "movie_popularity", "release_years", "genres")
    return Drift(
        md5=now.md5,
        champion_md5=then.md5,
        sha256=(now.sha256[contract.INTERACTIONS_FILE], then.sha256[contract.INTERACTIONS_FILE]),
        psi={
            name: population_stability(getattr(now.profile, name), getattr(then.profile, name))
            for name in names
        },
        vanished_users=_missing_share(then_ids["userId"], now_ids["userId"]),
        new_users=_missing_share(now_ids["userId"], then_ids["userId"]),
        vanished_movies=_missing_share(then_ids["movieId"], now_ids["movieId"]),
        new_movies=_missing_share(now_ids["movieId"], then_ids["movieId"]),
        row_growth=now.interactions / then.interactions - 1,
        newest_days=(now.last_timestamp - then.last_timestamp) / _DAY,
    )


def _ids(store: ObjectStore, prefix: str, stats: Stats, path: Path) -> dict[str, pl.Series]:
    key = contract.features_key(prefix, contract.INTERACTIONS_FILE)
    store.download(key, path, stats.sha256[contract.INTERACTIONS_FILE])
    ids = {
        name: pl.scan_parquet(path).select(pl.col(name).unique()).collect(engine="streaming")[name]
        for name in ("userId", "movieId")
    }
    path.unlink()
    return ids


def _missing_share(ids: pl.Series, others: pl.Series) -> float:
    return 1 - int(ids.is_in(others.implode()).sum()) / len(ids)


def _limits(settings: DriftSettings) -> tuple[tuple[Mapping[str, float], bool], ...]:
    return (settings.hard.model_dump(), True), (settings.warn.model_dump(), False)


def _beyond(drift: Drift, limits: Mapping[str, float], hard: bool) -> list[Breach]:
    measures = drift.measures()
    checks: list[tuple[str, float, Callable[[float, float], bool]]] = [
        *((name, limits["max_psi"], _above) for name in measures if name.startswith("psi_")),
        ("vanished_users", limits["max_vanished_users"], _above),
        ("vanished_movies", limits["max_vanished_movies"], _above),
        ("new_users", limits["max_new_users"], _above),
        ("new_movies", limits["max_new_movies"], _above),
        ("row_growth", limits["max_row_growth"], _above),
        ("row_growth", -limits["max_row_loss"], _below),
        ("newest_days", 0.0 - limits["max_days_back"], _below),
    ]
    return [
        Breach(measure=name, value=measures[name], limit=limit, hard=hard)
        for name, limit, is_beyond in checks
        if is_beyond(measures[name], limit)
    ]


def _above(value: float, limit: float) -> bool:
    return value > limit


def _below(value: float, limit: float) -> bool:
    return value < limit
