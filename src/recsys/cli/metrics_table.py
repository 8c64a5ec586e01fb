"""The metrics of a release or of a local training as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from recsys.cli import output
from recsys.cli.output import console

if TYPE_CHECKING:
    from recsys.contract import Metrics

_SHOWN: Final = {
    "rmse": "rmse",
    "mae": "mae",
    "ndcg@10": "ndcg@10",
    "liked_ndcg@10": "liked",
    "recall@10": "r@10",
    "recall@20": "r@20",
    "coverage": "cover",
    "fit_s": "fit s",
}


def print_models(models: list[dict[str, Any]]) -> None:
    """Prints one row per model; a metric that a model does not have is a dash."""
    shown = output.table("model", *(f" {head}" for head in _SHOWN.values()))
    for model in models:
        shown.add_row(output.safe(model["name"]), *(_number(model.get(key), key) for key in _SHOWN))
    console.print(shown)


def print_metrics(metrics: Metrics, fit_s: float | None) -> None:
    """Prints model, baselines and champion, with confidence intervals of the differences.

    Args:
        metrics: the metrics of a release or of a local training.
        fit_s: seconds of the fit; None if unknown.
    """
    rows: list[dict[str, Any]] = [
        {"name": "this model", **metrics.model.values(), "fit_s": fit_s},
        *(
            {"name": name, **scores.values()}
            for name, scores in metrics.baselines.by_name().items()
        ),
    ]
    if metrics.champion:
        rows.append({"name": "champion", **metrics.champion.values()})
        rows.append({"name": "  model on same", **metrics.champion.candidate.values()})
    holdout = metrics.holdout
    console.print(f"holdout: {holdout.rows or 0:,} ratings of {holdout.users or 0:,} users")
    print_models(rows)
    _print_other_holdouts(metrics)
    confidence = metrics.confidence
    if confidence and confidence.level is not None:
        console.print(f"\n{confidence.level:.0%} confidence intervals of differences")
        shown = output.table("difference", " low", " high")
        for name, interval in (confidence.differences or {}).items():
            shown.add_row(
                output.safe(name), *(f"{end:+.4f}" for end in interval or (float("nan"),) * 2)
            )
        console.print(shown)
    for name, reason in (metrics.skipped or {}).items():
        console.print(output.safe(f"{name} was skipped: {reason}"), style="dim")


def _print_other_holdouts(metrics: Metrics) -> None:
    found = {
        "time": metrics.time_holdout,
        "last visit": metrics.last_visit,
    }
    measured = {name: part for name, part in found.items() if part is not None}
    if not measured:
        return
    heads = ("holdout", "ratings", " users", " RMSE", " bias", " NDCG@10", " popularity")
    shown = output.table(*heads)
    for name, part in measured.items():
        size, baselines = part.holdout, part.baselines
        shown.add_row(
            name,
            f"{size.rows or 0:,}",
            f"{size.ranked_users or 0:,} of {size.users or 0:,}",
            *(
                _number(value, "")
                for value in (
                    part.model.rmse,
                    baselines.bias.rmse,
                    part.model.ndcg_10,
                    baselines.popularity.ndcg_10,
                )
            ),
        )
    console.print("\nother holdouts; ranked are the users with ratings in the training part")
    console.print(shown)


def _number(value: float | None, key: str) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if key == "fit_s" else f"{value:.4f}"
