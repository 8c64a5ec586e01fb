"""A search for better settings of the trainer, blind to the holdout.

Each trial trains on an inner split of the training part, so what is found may be judged by the
gate on the holdout like any other build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from recsys import contract
from recsys.contract import FeatureSettings
from recsys.errors import ConfigurationError, TrainingError
from recsys.experiments.local import make_local_features, train_locally
from recsys.experiments.splits import SplitName, held_out, with_split
from recsys.scratch import scratch_folder

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import TrialState

    from recsys.object_store import S3Settings


Trial = dict[str, Any]
"""``overrides``, and the ``value`` of the objective; null where training failed."""


class Objective(StrEnum):
    """The metric to better; each is one model's, and only that model's settings are searched."""

    RMSE = "rmse"
    NDCG = "ndcg@10"


_SPACE: Final[Mapping[Objective, Mapping[str, tuple[float, float, bool]]]] = {
    # Setting: low, high, whether by ratio.
    Objective.RMSE: {
        "rating.learning_rate": (0.004, 0.05, True),
        "rating.factor_penalty": (3.0, 30.0, True),
        "rating.bias_penalty": (1.0, 20.0, True),
        "rating.history_penalty": (4.0, 60.0, True),
        "rating.recency": (0.0, 2.0, False),
    },
    Objective.NDCG: {
        "ranking.learning_rate": (0.001, 0.02, True),
        "ranking.weight_decay": (0.0004, 0.04, True),
        "ranking.decay": (0.0, 0.5, False),
        "ranking.liked_weight": (1.0, 6.0, True),
    },
}
# The model that is not searched need not be good.
_CHEAP: Final = {
    Objective.RMSE: ("ranking.epochs=1",),
    Objective.NDCG: ("rating.epochs=1", "rating.members=1"),
}


def tune(
    features: Path,
    objective: Objective,
    trials: int,
    seed: int,
    on_line: Callable[[str], None],
) -> dict[str, Any]:
    """Tries settings one after the other, each chosen by what came of those before (TPE).

    Args:
        features: holds ``interactions.parquet`` and ``movies.parquet``; its holdout is not read.
        objective: the metric to better.
        trials: how many besides the defaults.
        seed: of training and of the search.
        on_line: told what is being done.

    Returns:
        ``objective``, ``defaults`` (the metric with the trainer's own settings), ``best`` (the
        metric), ``trials`` (``value``, null where training failed, and ``overrides``), and
        ``build_settings``: what to put into ``RECSYS_BUILD_SETTINGS``; empty where the defaults
        are best.

    Raises:
        ConfigurationError: Optuna is not installed.
        TrainingError: the trainer fails with its own settings.
    """
    study, space = _study(objective, seed)
    tried: list[Trial] = []
    with TemporaryDirectory(prefix="recsys-tune-") as temporary:
        folder = Path(temporary)
        write_inner_split(features, folder)
        on_line("the trainer's own settings")
        defaults = _measure(folder, objective, {}, seed, on_line)
        for number in range(1, trials + 1):
            trial = study.ask(space)
            shown = ", ".join(f"{name}={value:.4g}" for name, value in trial.params.items())
            on_line(f"trial {number} of {trials}: {shown}")
            value = _value(folder, objective, trial.params, seed, on_line)
            tried.append({"value": value, "overrides": dict(trial.params)})
            # Failed trials are told, too: the search keeps away from them.
            study.tell(trial, value, state=None if value is not None else _failed())
    return choose_settings(objective, [{"value": defaults, "overrides": {}}, *tried])


def plan_trials(objective: Objective, trials: int, seed: int) -> list[dict[str, float]]:
    """Overrides to be tried all at once: none, and so many drawn at random from the space."""
    study, space = _study(objective, seed, at_random=True)
    return [{}, *(dict(study.ask(space).params) for _ in range(trials))]


def measure_trial(
    source: str,
    objective: Objective,
    overrides: Mapping[str, float],
    seed: int,
    on_line: Callable[[str], None],
    s3: S3Settings | None = None,
) -> Trial:
    """Runs one planned trial, starting with the dataset, so that any machine can run it.

    Raises:
        RecsysError: the dataset or the trainer is unavailable. If training fails, the trial's
            value is None instead.
    """
    with scratch_folder("tune") as temporary:
        features, inner = temporary / "features", temporary / "inner"
        features.mkdir()
        inner.mkdir()
        make_local_features(source, features, FeatureSettings(), lambda done, total: None, s3)
        write_inner_split(features, inner)
        value = _value(inner, objective, overrides, seed, on_line)
    return {"value": value, "overrides": dict(overrides)}


def choose_settings(objective: Objective, trials: Iterable[Trial]) -> dict[str, Any]:
    """The best of the trials, the first of which is that of the trainer's own settings.

    Returns:
        What `tune` returns.

    Raises:
        TrainingError: the trainer failed with its own settings.
    """
    own, *tried = trials
    if own["value"] is None:
        raise TrainingError("the trainer failed with its own settings")
    sign = -1 if objective is Objective.NDCG else 1
    told = [trial for trial in (own, *tried) if trial["value"] is not None]
    best = min(told, key=lambda trial: sign * trial["value"])
    chosen = {"trainer": {"overrides": nested(best["overrides"])}}
    return {
        "objective": str(objective),
        "defaults": own["value"],
        "best": best["value"],
        "trials": tried,
        "build_settings": chosen if best["overrides"] else {},
    }


def write_inner_split(features: Path, folder: Path) -> None:
    """The training part alone, the last tenth of each user's ratings in it marked as holdout."""
    rows = pl.read_parquet(features / contract.INTERACTIONS_FILE).filter(pl.col("split") == "train")
    (hidden,) = held_out(SplitName.TEMPORAL_10, rows)
    with_split(rows, hidden).write_parquet(folder / contract.INTERACTIONS_FILE)
    pl.read_parquet(features / contract.MOVIES_FILE).write_parquet(folder / contract.MOVIES_FILE)


def nested(overrides: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """``{"rating.epochs": 3}`` as ``{"rating": {"epochs": 3}}``."""
    made: dict[str, dict[str, float]] = {}
    for name, value in overrides.items():
        section, _, field = name.partition(".")
        made.setdefault(section, {})[field] = value
    return made


def _measure(
    folder: Path,
    objective: Objective,
    overrides: Mapping[str, float],
    seed: int,
    on_line: Callable[[str], None],
) -> float:
    trained = train_locally(
        folder,
        folder / "out",
        seed=seed,
        assignments=[*_CHEAP[objective], *(f"{k}={v!r}" for k, v in overrides.items())],
        refit=False,
        on_line=on_line,
    )
    value = trained.metrics.model.value(objective)
    if value is None:
        raise TrainingError(
            f"the training measured no {objective}",
            found=", ".join(trained.metrics.model.values()) or "no metrics",
            expected=objective,
            hint="the trainer writes it to metrics.json",
        )
    return value


def _value(
    folder: Path,
    objective: Objective,
    overrides: Mapping[str, float],
    seed: int,
    on_line: Callable[[str], None],
) -> float | None:
    try:
        return _measure(folder, objective, overrides, seed, on_line)
    except TrainingError as error:
        on_line(f"the trial failed: {error.found}")
        return None


def _failed() -> TrialState:
    from optuna.trial import TrialState

    return TrialState.FAIL


def _study(
    objective: Objective, seed: int, *, at_random: bool = False
) -> tuple[Study, dict[str, BaseDistribution]]:
    try:
        import optuna
    except ImportError as error:
        raise ConfigurationError(
            "Optuna is not installed",
            expected="the extra `tune` of this package",
            hint="run `make setup`, or `pip install recsys[tune]`",
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.RandomSampler if at_random else optuna.samplers.TPESampler
    study = optuna.create_study(
        direction="maximize" if objective is Objective.NDCG else "minimize",
        sampler=sampler(seed=seed),
    )
    return study, {
        name: optuna.distributions.FloatDistribution(low, high, log=by_ratio)
        for name, (low, high, by_ratio) in _SPACE[objective].items()
    }
