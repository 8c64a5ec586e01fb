"""Searches better settings of the trainer without using the holdout.

Each trial trains on an inner split of the training part, so the gate can judge the settings found
on the holdout like those of any other build.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from recsys import contract
from recsys.contract import BuildSettings, FeatureSettings
from recsys.errors import ConfigurationError, TrainingError
from recsys.experiments.local import make_local_features, train_locally
from recsys.experiments.names import Objective, Part, SplitName
from recsys.experiments.parts import SHORTEST
from recsys.experiments.splits import holdout_masks, mark_holdout
from recsys.scratch import scratch_folder

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import TrialState

    from recsys.dataset import FetchSettings
    from recsys.object_store import S3Settings


Trial = dict[str, Any]
"""``overrides``, and the ``value`` of the objective; null if training failed."""


_SPACE: Final[Mapping[Objective, Mapping[str, tuple[float, float, bool]]]] = {
    # Setting: low, high, whether it is searched on a logarithmic scale.
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
# Short trainings for the model whose settings are not searched.
_CHEAP: Final = {
    Objective.RMSE: SHORTEST[Part.RANKING],
    Objective.NDCG: SHORTEST[Part.RATING],
}


def tune(
    features: Path,
    objective: Objective,
    trials: int,
    seed: int,
    on_line: Callable[[str], None],
) -> dict[str, Any]:
    """Tries settings one after the other, each proposed from earlier results (TPE).

    Args:
        features: folder with ``interactions.parquet`` and ``movies.parquet``; its holdout is not
            read.
        objective: the metric to improve.
        trials: number of trials besides the defaults.
        seed: seed of training and of the search.
        on_line: called with a line of progress.

    Returns:
        ``objective``, ``defaults`` (the metric with the trainer's own settings), ``best`` (the
        metric), ``trials`` (``value``, null if training failed, and ``overrides``), and
        ``overrides``: the settings to build with; empty if the defaults are best.

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
            # Failed trials are reported too, so that the search avoids their settings.
            study.tell(trial, value, state=None if value is not None else _failed())
    return choose_settings(objective, [{"value": defaults, "overrides": {}}, *tried])


def plan_trials(objective: Objective, trials: int, seed: int) -> list[dict[str, float]]:
    """Returns overrides for parallel trials: first none, then random draws from the space."""
    study, space = _study(objective, seed, at_random=True)
    return [{}, *(dict(study.ask(space).params) for _ in range(trials))]


def measure_trial(
    source: str,
    objective: Objective,
    overrides: Mapping[str, float],
    seed: int,
    on_line: Callable[[str], None],
    s3: S3Settings | None = None,
    fetch: FetchSettings | None = None,
    settings: FeatureSettings | None = None,
) -> Trial:
    """Runs one planned trial, starting with the dataset, so that any machine can run it.

    Args:
        source: see `recsys.dataset.obtain_dataset`.
        objective: what is measured.
        overrides: settings of the trainer that differ from the defaults.
        seed: seed of the training.
        on_line: called with each line that the trainer prints.
        s3: endpoint and credentials of an s3 source.
        fetch: timeouts and credentials of the source; from the environment if not given.
        settings: of the features; the defaults if not given.

    Raises:
        RecsysError: the dataset or the trainer is unavailable. If training fails, the trial's
            value is None instead.
    """
    with scratch_folder("tune") as temporary:
        features, inner = temporary / "features", temporary / "inner"
        features.mkdir()
        inner.mkdir()
        make_local_features(
            source, features, settings or FeatureSettings(), lambda done, total: None, s3, fetch
        )
        write_inner_split(features, inner)
        value = _value(inner, objective, overrides, seed, on_line)
    return {"value": value, "overrides": dict(overrides)}


def choose_settings(objective: Objective, trials: Iterable[Trial]) -> dict[str, Any]:
    """Returns the best of the trials; the first trial has the trainer's own settings.

    Returns:
        The same document as `tune`.

    Raises:
        TrainingError: the trainer failed with its own settings.
    """
    own, *tried = trials
    if own["value"] is None:
        raise TrainingError("the trainer failed with its own settings")
    sign = -1 if objective is Objective.NDCG else 1
    successful = [trial for trial in (own, *tried) if trial["value"] is not None]
    best = min(successful, key=lambda trial: sign * trial["value"])
    return {
        "objective": str(objective),
        "defaults": own["value"],
        "best": best["value"],
        "trials": tried,
        "overrides": nest_overrides(best["overrides"]),
    }


def with_overrides(settings: BuildSettings, overrides: dict[str, Any]) -> BuildSettings:
    """Returns settings of a build with these overrides of the trainer's, and no others.

    Trials start from the trainer's defaults, so overrides of before have no part in the result.
    """
    trainer = settings.trainer.model_copy(update={"overrides": overrides})
    return settings.model_copy(update={"trainer": trainer})


def write_inner_split(features: Path, folder: Path) -> None:
    """Writes the training part alone, with the last tenth of each user's ratings as holdout."""
    rows = pl.read_parquet(features / contract.INTERACTIONS_FILE).filter(pl.col("split") == "train")
    (hidden,) = holdout_masks(SplitName.TEMPORAL_10, rows)
    mark_holdout(rows, hidden).write_parquet(folder / contract.INTERACTIONS_FILE)
    pl.read_parquet(features / contract.MOVIES_FILE).write_parquet(folder / contract.MOVIES_FILE)
    # It has the scale of the ratings.
    if (features / contract.STATS_FILE).exists():
        shutil.copy(features / contract.STATS_FILE, folder / contract.STATS_FILE)


def nest_overrides(overrides: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Turns ``{"rating.epochs": 3}`` into ``{"rating": {"epochs": 3}}``."""
    sections: dict[str, dict[str, float]] = {}
    for name, value in overrides.items():
        section, _, field = name.partition(".")
        sections.setdefault(section, {})[field] = value
    return sections


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
            hint="run `make setup`, or `pip install 'recsys[tune]'`",
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.RandomSampler if at_random else optuna.samplers.TPESampler
    study = optuna.create_study(
        direction="maximize" if objective is Objective.NDCG else "minimize",
        sampler=sampler(seed=seed),
    )
    return study, {
        name: optuna.distributions.FloatDistribution(low, high, log=logarithmic)
        for name, (low, high, logarithmic) in _SPACE[objective].items()
    }
