"""Drift of a dataset from the champion's dataset, and its limits: distributions, ids, size."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recsys import contract
from recsys.errors import DatasetError, first_invalid_field
from recsys.features.drift_settings import DriftSettings
from recsys.object_store import ObjectStore

log = logging.getLogger(__name__)


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
    changed_pairs: float | None = Field(
        default=None,
        description="of the champion's pairs of a user and a movie that both are still there, the "
        "share that is missing, among at most 20,000 of its users; nearly 1 if a dump gives the "
        "ids to others. None if nothing was left to compare, or if an earlier version measured",
    )
    row_growth: float = Field(description="interactions / the champion's interactions - 1")
    newest_days: float = Field(
        description="days by which the last rating is later than the champion's"
    )

    def measures(self) -> dict[str, float]:
        """Returns all measures by name."""
        names = ("vanished_users", "new_users", "vanished_movies", "new_movies", "row_growth")
        shares = {name: float(getattr(self, name)) for name in names}
        if self.changed_pairs is not None:
            shares["changed_pairs"] = self.changed_pairs
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


def check_drift(drift: Drift, settings: DriftSettings, *, change: str = "") -> None:
    """Logs a warning for each breach; fails at a hard one unless the settings accept it.

    Args:
        drift: the measures.
        settings: their limits.
        change: a change of the settings that explains a drift, if there was one.

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
            hint=(f"{change}; " if change else "")
            + "check that the dump is complete and the right one; if the change is intended, "
            "run once with accept_drift (recsys run --accept-drift), or raise the limit in "
            "RECSYS_DRIFT_SETTINGS",
        )


def _limits(settings: DriftSettings) -> tuple[tuple[Mapping[str, float], bool], ...]:
    return (settings.hard.model_dump(), True), (settings.warn.model_dump(), False)


def _beyond(drift: Drift, limits: Mapping[str, float], hard: bool) -> list[Breach]:
    measures = drift.measures()
    checks: list[tuple[str, float, Callable[[float, float], bool]]] = [
        *((name, limits["max_psi"], _above) for name in measures if name.startswith("psi_")),
        ("vanished_users", limits["max_vanished_users"], _above),
        ("vanished_movies", limits["max_vanished_movies"], _above),
        ("changed_pairs", limits["max_changed_pairs"], _above),
        ("new_users", limits["max_new_users"], _above),
        ("new_movies", limits["max_new_movies"], _above),
        ("row_growth", limits["max_row_growth"], _above),
        ("row_growth", -limits["max_row_loss"], _below),
        ("newest_days", 0.0 - limits["max_days_back"], _below),
    ]
    return [
        Breach(measure=name, value=measures[name], limit=limit, hard=hard)
        for name, limit, is_beyond in checks
        if name in measures and is_beyond(measures[name], limit)
    ]


def _above(value: float, limit: float) -> bool:
    return value > limit


def _below(value: float, limit: float) -> bool:
    return value < limit


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
