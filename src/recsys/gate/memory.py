"""The gate's memory: a limit on what a chain of promotions may lose since the best of them.

Each decision stores what its candidate loses against the champion, measured on the same pairs. The
sum of these losses along the promotions since an earlier release is what the candidate loses
against that release, so no earlier release has to be evaluated again. Losses are logarithms of
ratios, which add up: two promotions that lose 1 % each lose 1.99 % together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

from pydantic import BaseModel, ConfigDict

from recsys.gate.data_rules import ids_changed
from recsys.gate.judged import JudgedMetrics
from recsys.gate.losses import Loss, measure_loss
from recsys.gate.measures import RuleResult, result
from recsys.gate.settings import GateSettings

FIRST: Final = "there was no champion"
IDS_CHANGED: Final = "the dataset gives ids to others"
_HUGE: Final = 700.0
_Z: Final = NormalDist().inv_cdf(0.975)
NOT_RECORDED: Final = "the decision is from before losses were recorded"


class Memory(BaseModel):
    """What a decision records for later ones, and how far back it looked itself.

    Attributes:
        rmse: loss against the champion; None if it was not measured.
        ndcg: the same for NDCG@10.
        starts_anew: why nothing is summed across the promotion of this candidate; empty if it is.
        compared: number of earlier releases that the candidate was compared with.
        begins_with: the earliest of them; None if there is none.
        because: why the memory does not go back further.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rmse: Loss | None = None
    ndcg: Loss | None = None
    starts_anew: str = ""
    compared: int = 0
    begins_with: str | None = None
    because: str = ""


@dataclass(frozen=True)
class PastPromotion:
    """An earlier change of the champion.

    Attributes:
        release_id: the release that became champion.
        replaced: the champion before; None if there was none.
        memory: what the decision recorded; None in decisions of earlier code.
        starts_anew: why a person's act, such as a rollback, forgets what was before; else empty.
    """

    release_id: str
    replaced: str | None
    memory: Memory | None
    starts_anew: str = ""


def remember(
    candidate: JudgedMetrics,
    champion: JudgedMetrics | None,
    past: Sequence[PastPromotion],
    settings: GateSettings,
) -> tuple[Memory, tuple[RuleResult, ...]]:
    """Measures a candidate's losses and limits their sum since each remembered release.

    A metric that is no worse than the champion's passes, whatever was lost before: to reject it
    would keep a worse release. The first limit is for the sum itself. The second one is for what is
    lost with confidence: the sum minus the uncertainty of all its parts. A trainer cannot avoid the
    first with wide intervals.

    Args:
        candidate: its metrics.
        champion: the champion's; None for the first release.
        past: changes of the champion, newest first: ``past[0]`` made the champion.
        settings: the limits.

    Returns:
        What the decision records, and the results of the rules; none without an earlier release.
    """
    if champion is None:
        return Memory(starts_anew=FIRST, because=FIRST), ()
    if ids_changed(candidate, settings):
        return Memory(starts_anew=IDS_CHANGED, because=IDS_CHANGED), ()
    rmse = measure_loss(candidate, champion, "rmse", settings)
    ndcg = measure_loss(candidate, champion, "ndcg@10", settings)
    remembered, because = _remembered(past, settings)
    memory = Memory(
        rmse=rmse,
        ndcg=ndcg,
        compared=len(remembered),
        begins_with=remembered[-1].replaced if remembered else None,
        because=because,
    )
    limits = (
        ("rmse", rmse, settings.max_summed_rmse_rise, settings.max_sure_summed_rmse_rise),
        ("ndcg", ndcg, settings.max_summed_ndcg_drop, settings.max_sure_summed_ndcg_drop),
    )
    return memory, tuple(
        rule
        for name, now, most, surely_most in limits
        for rule in _rules(name, now, remembered, most, surely_most, because)
    )


def _remembered(
    past: Sequence[PastPromotion], settings: GateSettings
) -> tuple[Sequence[PastPromotion], str]:
    """Returns the newest promotions whose losses are summed, and why there are no more."""
    for number, one in enumerate(past[: settings.memory_releases]):
        why = one.starts_anew or (one.memory.starts_anew if one.memory else NOT_RECORDED)
        if one.replaced is None:
            why = why or FIRST
        if why:
            return past[:number], f"{one.release_id} became champion anew: {why}"
    if len(past) > settings.memory_releases:
        return past[: settings.memory_releases], f"memory_releases is {settings.memory_releases}"
    return past, FIRST if past else "there was no earlier champion"


def _rules(
    metric: str,
    now: Loss | None,
    past: Sequence[PastPromotion],
    limit: float,
    sure_limit: float,
    because: str,
) -> Iterator[RuleResult]:
    """Compares the sums since each release with the limits; each rule shows the worst sum.

    There is no rule without a loss of the candidate's own: one against the champion fails then.
    """
    sums = list(_sums(metric, now, past)) if now is not None else []
    if now is None or not sums:
        return
    rises = metric == "rmse"
    what = "rise of the RMSE" if rises else "drop of NDCG@10"
    for rule, (log, since), most, how in (
        (f"{metric}_against_best", max((s.log, s.since) for s in sums), limit, ""),
        (
            f"{metric}_surely_{'above' if rises else 'below'}_best",
            max((s.sure, s.since) for s in sums),
            sure_limit,
            ", lower end of the confidence interval",
        ),
    ):
        found = result(
            rule,
            f"{what} since {since}, the best of {len(sums)} earlier releases{how}",
            "at most",
            _share(log) if rises else -_share(-log),
            most,
            more=f"; the memory ends there: {because}",
        )
        if now.log <= 0 and not found.passed:
            reason = f"{found.reason}; passes because the champion is no better"
            found = found.model_copy(update={"passed": True, "reason": reason})
        yield found


@dataclass(frozen=True)
class _Sum:
    """What is lost since a release: ``log``, and ``sure``, its lower end with confidence."""

    log: float
    sure: float
    since: str


def _sums(metric: str, now: Loss, past: Sequence[PastPromotion]) -> Iterator[_Sum]:
    log, variance = now.log, now.error**2
    for one in past:
        loss = getattr(one.memory, metric)
        if loss is None:
            return
        log, variance = log + loss.log, variance + loss.error**2
        yield _Sum(log, log - _Z * math.sqrt(variance), one.replaced or "")


def _share(log: float) -> float:
    """Returns the change as a share of the earlier value; a huge one stays a finite number."""
    return math.expm1(min(log, _HUGE))
