"""How far accepted candidates can decline in a row: ``python -m tests.decline_simulation``.

Each candidate is worse than the champion by the same share, its metrics claim narrow intervals, and
every one that the gate accepts becomes the champion. Its own metrics stay good, so that only the
rules against the champion and the memory bind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys import gate
from recsys.gate import GateSettings, PastPromotion
from tests.metrics_maker import GOOD, Metrics, as_judged, scored

CHAMPION_ID = "0123abcd-0123abcd"
SETTINGS = GateSettings()
WITHOUT_MEMORY = GateSettings(memory_releases=0)
_METRICS = ("rmse", "ndcg@10")


@dataclass
class Chain:
    """Releases that became champion one after another.

    Attributes:
        settings: limits of the gate.
        past: their promotions, newest first.
        level: the product of the changes of each metric, 1 at the start.
    """

    settings: GateSettings
    past: list[PastPromotion]
    level: dict[str, float]

    @classmethod
    def start(cls, settings: GateSettings) -> Chain:
        first = gate.judge(as_judged(GOOD), None, settings)
        chain = cls(settings, [], dict.fromkeys(_METRICS, 1.0))
        chain.past.append(PastPromotion("release-0", None, first.memory))
        return chain

    def offer(
        self, *, rmse: float = 1.0, ndcg: float = 1.0, error: tuple[float, float] = (0.0, 0.0)
    ) -> gate.Decision:
        """Judges a candidate with these multiples of the champion's metrics; promotes it if it may.

        Args:
            rmse: the multiple of the champion's RMSE.
            ndcg: the multiple of its NDCG@10.
            error: relative standard errors of both, which are the width of the intervals.
        """
        metrics = candidate_metrics(rmse, ndcg, error)
        champion = as_judged(GOOD | {"release_id": CHAMPION_ID})
        decision = gate.judge(as_judged(metrics), champion, self.settings, self.past)
        if decision.accepted:
            name, replaced = f"release-{len(self.past)}", self.past[0].release_id
            self.past.insert(0, PastPromotion(name, replaced, decision.memory))
            self.level["rmse"] *= rmse
            self.level["ndcg@10"] *= ndcg
        return decision


def candidate_metrics(rmse: float, ndcg: float, error: tuple[float, float]) -> Metrics:
    """Returns metrics whose own level is GOOD's: only the comparison changes."""
    champion = {"release_id": CHAMPION_ID, "rmse": 0.85, "ndcg@10": 0.15}
    metrics = scored(GOOD, **champion)
    metrics["champion"]["candidate"] |= {"rmse": 0.85 * rmse, "ndcg@10": 0.15 * ndcg}
    for name, level, multiple, one in (
        ("rmse - champion", 0.85, rmse, error[0]),
        ("ndcg@10 - champion", 0.15, ndcg, error[1]),
    ):
        found, half = level * (multiple - 1), 1.96 * one * level
        metrics["confidence"]["differences"][name] = [found - half, found + half]
    return metrics


def longest_chain(
    settings: GateSettings,
    *,
    rmse: float = 1.0,
    ndcg: float = 1.0,
    error: tuple[float, float] = (0.0, 0.0),
    most: int = 100,
) -> tuple[int, Chain]:
    """Returns how many candidates in a row are accepted, at most ``most``, and their chain."""
    chain = Chain.start(settings)
    for number in range(most):
        if not chain.offer(rmse=rmse, ndcg=ndcg, error=error).accepted:
            return number, chain
    return most, chain


def rejected_by_noise(
    settings: GateSettings, error: tuple[float, float], candidates: int, seed: int
) -> float:
    """Returns the share of equally good candidates that the memory alone rejects.

    What is measured of each differs from the truth by random errors.
    """
    rejected, chain = 0, Chain.start(settings)
    changes = np.exp(np.random.default_rng(seed).normal(0, error, (candidates, 2)))
    for rmse, ndcg in changes.tolist():
        decision = chain.offer(rmse=rmse, ndcg=ndcg, error=error)
        failed = {rule.name for rule in decision.rules if rule.binding and not rule.passed}
        rejected += bool(failed) and all(name.endswith("_best") for name in failed)
    return rejected / candidates


def main() -> None:
    """Prints the chains under the rules without and with memory."""
    noise = (0.002, 0.06)
    print(f"{'each candidate is worse by':<44}{'without':>9}{'level':>8}{'with':>7}{'level':>8}")
    for what, arguments in (
        ("0.5 % of RMSE, narrow intervals", {"rmse": 1.005}),
        ("0.5 % of RMSE, intervals of 610 users", {"rmse": 1.005, "error": noise}),
        ("0.2 % of RMSE, narrow intervals", {"rmse": 1.002}),
        ("0.05 % of RMSE, narrow intervals", {"rmse": 1.0005}),
        ("5 % of NDCG@10, narrow intervals", {"ndcg": 0.951}),
        ("5 % of NDCG@10, intervals of 610 users", {"ndcg": 0.951, "error": noise}),
        ("15 % of NDCG@10, intervals of 610 users", {"ndcg": 0.85, "error": noise}),
        ("1 % of NDCG@10, narrow intervals", {"ndcg": 0.99}),
        ("both: 0.5 % and 5 %", {"rmse": 1.005, "ndcg": 0.951}),
    ):
        (old, before), (new, after) = (
            longest_chain(settings, **arguments) for settings in (WITHOUT_MEMORY, SETTINGS)
        )
        metric = "rmse" if "rmse" in arguments else "ndcg@10"
        levels = (f"{chain.level[metric] - 1:+.1%}" for chain in (before, after))
        print(f"{what:<44}{old:>9}{next(levels):>8}{new:>7}{next(levels):>8}")
    for seed in (1, 2, 3):
        share = rejected_by_noise(SETTINGS, noise, 500, seed)
        print(f"equal candidates that only the memory rejects (seed {seed}): {share:.1%}")


if __name__ == "__main__":
    main()
