"""Releases whose trainers wrote metrics that cannot be: for all that lists or shows releases."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Final

from recsys.contract import Metrics
from tests.metrics_maker import GOOD, scored
from tests.release_maker import Releases

SCRIPT: Final = "<script>alert(1)</script>"
_NUMBERS: Final = (math.nan, math.inf, 1e308, -1e308, 10**300, "0.1", SCRIPT, None, [], True)
IMPOSSIBLE: Final[tuple[dict[str, Any], ...]] = (
    *({**GOOD, "model": {**GOOD["model"], "rmse": x, "ndcg@10": x}} for x in _NUMBERS),
    {"model": SCRIPT, "baselines": 5, "calibration": {}, "slices": [SCRIPT], "confidence": ""},
    {},
    {**scored(GOOD), "calibration": [{"stars": SCRIPT, "rows": 1e308}]},
    {**GOOD, "confidence": {"level": SCRIPT, "differences": {SCRIPT: [math.nan, "x"]}}},
    {**GOOD, "slices": SCRIPT, "skipped": {SCRIPT: SCRIPT}},
)


class ImpossibleReleases(Releases):
    """Release number n has the n-th of the impossible metrics, and hostile lineage."""

    def metrics(self, number: int) -> Metrics:
        return Metrics.model_validate(IMPOSSIBLE[number])

    LINEAGE: ClassVar = {"seed": SCRIPT, "hardware": {SCRIPT: SCRIPT, "cpu": "x" * 2000}}
