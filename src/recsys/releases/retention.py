"""How many releases retirement keeps; a description of a recommender contains these settings."""

from __future__ import annotations

from pydantic import Field

from recsys.contract import FrozenModel


class RetentionSettings(FrozenModel):
    """Releases that retirement keeps besides the champion and the previous champion."""

    keep_releases: int = Field(
        default=5,
        ge=0,
        description="newest releases to keep that a rollback could lead to; as many rejected ones",
    )
    abandon_after_hours: float = Field(
        default=24,
        gt=0,
        description="hours without a sign of life after which a build is abandoned",
    )
    forget_after_hours: float = Field(
        default=7 * 24,
        gt=0,
        description="hours after the end of its run after which a candidate that was neither "
        "promoted nor rejected is abandoned",
    )
