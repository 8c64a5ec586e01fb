"""Local trainings that are kept, so that they can be listed and compared."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from recsys.contract import Metrics
from recsys.errors import ConfigurationError
from recsys.experiments.names import Part
from recsys.experiments.parts import decision_on_part, metrics_of_part
from recsys.gate import Decision, GateSettings, JudgedMetrics, judge

_FILE: Final = "run.json"
LESS_IS_BETTER: Final = frozenset({"rmse", "mae", "popularity_bias", "low_rated_share"})
NEITHER_IS_BETTER: Final = frozenset({"novelty"})


class LocalRun(BaseModel):
    """A training on this machine.

    Attributes:
        run_id: time and a random part; a unique beginning of it is enough to name the run.
        at: when it ended.
        dataset: its source without credentials, or the folder of its features.
        dataset_md5: md5 of the dataset; None if only its features were given.
        settings: the settings that were set, as ``section.field=value``.
        config: all settings of the trainer, as it recorded them.
        seed: the seed.
        champion: what it was compared with; None: nothing.
        fit_s: seconds of fitting; None if not recorded.
        metrics: the metrics.
        verdict: what the gate says about these metrics; see `local_verdict`.
        only: the part that was trained; None: both.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    at: datetime
    dataset: str
    dataset_md5: str | None
    settings: tuple[str, ...]
    config: dict[str, Any]
    seed: int
    champion: str | None
    fit_s: float | None
    metrics: Metrics
    verdict: Decision
    only: Part | None = None


class ComparedRuns(BaseModel):
    """Two runs side by side.

    Attributes:
        metrics: name, value of each run, change of the second as a share, and which is better.
        intervals: confidence intervals of each run, by metric.
        settings: settings that differ: name and value in each run.
        same_holdout: whether dataset and size of the holdout are the same; else the metrics cannot
            be compared.
    """

    model_config = ConfigDict(frozen=True)

    metrics: list[tuple[str, float | None, float | None, float | None, str]]
    intervals: dict[str, tuple[tuple[float, float] | None, tuple[float, float] | None]]
    settings: list[tuple[str, Any, Any]]
    same_holdout: bool


def local_verdict(metrics: Metrics, only: Part | None = None) -> Decision:
    """Returns what the gate says about a local training with its default limits.

    Rules about facts that only the pipeline measures are left out: vectors, drift, served model,
    and the champion's own metrics.

    Args:
        metrics: of the training, of both parts.
        only: the part that was trained; the rules about the other one are left out.
    """
    judged = JudgedMetrics.model_validate(metrics.model_dump(mode="json"))
    decision = judge(judged, None, GateSettings())
    return decision_on_part(decision, only) if only else decision


def keep_run(
    folder: Path, at: datetime | None = None, only: Part | None = None, **facts: Any
) -> LocalRun:
    """Writes a run below ``folder`` and returns it.

    Args:
        folder: contains one folder for each run.
        at: when the training ended; now if not given.
        only: the part that was trained; None: both.
        facts: the other fields of `LocalRun`, except the verdict. The metrics of the part that was
            not trained are not kept.
    """
    at = at or datetime.now(UTC)
    run = LocalRun(
        run_id=f"{at:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
        at=at,
        verdict=local_verdict(facts["metrics"], only),
        only=only,
        **facts | ({"metrics": metrics_of_part(facts["metrics"], only)} if only else {}),
    )
    place = folder / run.run_id
    place.mkdir(parents=True)
    (place / _FILE).write_text(run.model_dump_json(indent=1), encoding="utf-8")
    return run


def list_runs(folder: Path) -> list[LocalRun]:
    """Returns the runs, newest first; a damaged file is left out."""
    return sorted(_runs(folder), key=lambda run: run.at, reverse=True)


def _runs(folder: Path) -> Iterator[LocalRun]:
    for path in folder.glob(f"*/{_FILE}"):
        try:
            yield LocalRun.model_validate_json(path.read_bytes())
        except (ValidationError, OSError):
            continue


def find_run(folder: Path, name: str) -> LocalRun:
    """Returns the run whose id begins with ``name``; ``latest`` is the newest.

    Raises:
        ConfigurationError: there is none, or more than one.
    """
    runs = list_runs(folder)
    found = runs[:1] if name == "latest" else [r for r in runs if r.run_id.startswith(name)]
    if len(found) != 1:
        raise ConfigurationError(
            "no run is named so" if not found else "more than one run is named so",
            found=name,
            expected="the beginning of one id, or latest",
            hint="`recsys experiments list` shows the ids",
        )
    return found[0]


def compare_runs(first: LocalRun, second: LocalRun) -> ComparedRuns:
    """Compares two runs: metrics with intervals, and the settings that differ."""
    names = dict.fromkeys([*first.metrics.model.values(), *second.metrics.model.values()])
    rows = []
    for name in names:
        a, b = first.metrics.model.value(name), second.metrics.model.value(name)
        rows.append((name, a, b, b / a - 1 if a and b is not None else None, _better(name, a, b)))
    ends = _intervals(first.metrics), _intervals(second.metrics)
    left, right = dict(_flat(_settings(first))), dict(_flat(_settings(second)))
    return ComparedRuns(
        metrics=rows,
        intervals={
            name: (ends[0].get(name), ends[1].get(name))
            for name in names
            if name in ends[0] or name in ends[1]
        },
        settings=[
            (name, left.get(name), right.get(name))
            for name in dict.fromkeys([*left, *right])
            if left.get(name) != right.get(name)
        ],
        same_holdout=(first.dataset_md5 or first.dataset, first.metrics.holdout)
        == (second.dataset_md5 or second.dataset, second.metrics.holdout),
    )


def _better(name: str, a: float | None, b: float | None) -> str:
    if a is None or b is None or a == b or name in NEITHER_IS_BETTER:
        return ""
    return "second" if (b < a) == (name in LESS_IS_BETTER) else "first"


def _intervals(metrics: Metrics) -> dict[str, tuple[float, float]]:
    found = metrics.confidence.model if metrics.confidence else None
    return {name: ends for name, ends in (found or {}).items() if ends}


def _settings(run: LocalRun) -> dict[str, Any]:
    return {**run.config, "seed": run.seed}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.loads(json.dumps(value))
