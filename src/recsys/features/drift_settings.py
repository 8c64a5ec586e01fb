"""How far a dataset may drift from the champion's; the DAG's Params are made of these settings."""

from __future__ import annotations

from pydantic import Field

from recsys.contract import FrozenModel


class DriftLimits(FrozenModel):
    """Limits beyond which a measure of `Drift` is logged as a warning."""

    max_psi: float = Field(
        default=0.25, ge=0, description="population stability index of any distribution"
    )
    max_vanished_users: float = Field(
        default=0.1, ge=0, le=1, description="share of the champion's users"
    )
    max_new_users: float = Field(default=0.5, ge=0, le=1, description="share of users")
    max_vanished_movies: float = Field(
        default=0.05, ge=0, le=1, description="share of the champion's rated movies"
    )
    max_new_movies: float = Field(default=0.3, ge=0, le=1, description="share of rated movies")
    max_changed_pairs: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="share of the champion's pairs of a user and a movie, both still there, that "
        "are missing",
    )
    max_row_growth: float = Field(
        default=1.0, ge=0, description="share of the champion's interactions"
    )
    max_row_loss: float = Field(
        default=0.05, ge=0, le=1, description="share of the champion's interactions"
    )
    max_days_back: float = Field(
        default=0.0, ge=0, description="days by which the last rating is older than the champion's"
    )


class HardDriftLimits(DriftLimits):
    """Limits beyond which the run fails: another dataset, or half of one; 1 disables a share."""

    max_psi: float = Field(default=4.0, ge=0)
    max_vanished_users: float = Field(default=0.4, ge=0, le=1)
    max_new_users: float = Field(default=1.0, ge=0, le=1)
    max_vanished_movies: float = Field(default=0.4, ge=0, le=1)
    max_new_movies: float = Field(default=1.0, ge=0, le=1)
    # The gate compares with the champion in another way if the ids changed.
    max_changed_pairs: float = Field(default=1.0, ge=0, le=1)
    max_row_growth: float = Field(default=1000.0, ge=0)
    max_row_loss: float = Field(default=0.4, ge=0, le=1)
    # The replay of ADR 25: an older dump that is published again passes every rule of the gate.
    max_days_back: float = Field(default=7.0, ge=0)


class DriftSettings(FrozenModel):
    """How far a dataset may drift from the champion's.

    These limits only decide whether a run fails. They do not change what a run produces, so they
    are not part of a build.
    """

    warn: DriftLimits = DriftLimits()
    hard: HardDriftLimits = HardDriftLimits()
    accept: bool = Field(default=False, description="accept drift beyond the hard limits")
