"""Measures one whole run of the pipeline: from a zip to a promoted release, with training.

Runs the DAG as `recsys demo` does, on servers of its own, and measures each task.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from recsys import dataset, ledger
from recsys.benchmark.groups import Sampler, Usage
from recsys.benchmark.machine import describe_machine, measure_limits
from recsys.benchmark.stage_process import BenchmarkError
from recsys.database import PostgresSettings, connect
from recsys.embedded import runs, stack
from recsys.embedded.home import Home
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3

_DAG_ID: Final = "movie_rec_sys"
BETWEEN: Final = "between tasks"
"""Starting Airflow, making its tables, and what it does between two tasks."""
_PROGRAMS: Final = {"trainer": "trainer", "verifier": "verifier", "recsys_dag.run_dag": "pipeline"}
"""Modules that Python runs, and the groups of their processes."""


class GroupUsage(BaseModel):
    """What a group of processes used in a task."""

    model_config = ConfigDict(frozen=True)

    cpu_s: float
    peak_mb: float = Field(description="of all processes of the group at one moment, 10^6 bytes")
    peak_process_mb: float = Field(description="of its largest process")


class Step(BaseModel):
    """One task of the run, with all its tries."""

    model_config = ConfigDict(frozen=True)

    task: str
    wall_s: float
    cpu_s: float = Field(description="of all processes")
    peak_process_mb: float = Field(description="of the largest process")
    groups: dict[str, GroupUsage] = Field(description="pipeline, trainer, verifier, postgres, s3")


class Whole(BaseModel):
    """A whole run."""

    model_config = ConfigDict(frozen=True)

    ratings: int
    zip_mb: float
    machine: dict[str, Any]
    sample_s: float | None = Field(description="seconds to generate the dataset, before the run")
    release_id: str
    promoted: bool = Field(description="false if the gate rejected the candidate")
    reason: str | None = Field(description="of the gate's decision")
    wall_s: float = Field(description="with the start of Airflow and the making of its tables")
    cpu_s: float
    peak_process_mb: float
    metrics: dict[str, float]
    steps: list[Step]


@dataclass
class _Clock:
    """Wall seconds of each task, from the events of a run, and its order."""

    sampler: Sampler
    on_step: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)
    _task: str = BETWEEN
    _began: float = field(default_factory=time.monotonic)

    def take(self, event: runs.Event) -> None:
        """Begins or ends a task."""
        if event["event"] != "task":
            return
        if event["state"] == "running":
            self.begin(event["task_id"])
            self.on_step(event["task_id"])
        elif event["task_id"] == self._task:
            self.begin(BETWEEN)

    def begin(self, task: str) -> None:
        """Ends what was measured until now, and begins a task."""
        now = time.monotonic()
        self.seconds[self._task] = self.seconds.get(self._task, 0.0) + now - self._began
        self.sampler.begin(task)
        self._task, self._began = task, now


def run_whole(
    *, ratings: int, source: Path | None = None, on_step: Callable[[str], None] = lambda text: None
) -> Whole:
    """Runs the pipeline once and measures its tasks.

    Args:
        ratings: number of ratings of the dataset to generate.
        source: path of a zip to use instead.
        on_step: called with the name of each task when it starts.

    Raises:
        BenchmarkError: the run failed, or made no candidate.
        RecsysError: the dataset cannot be read, or a server does not start.
    """
    with TemporaryDirectory(prefix="recsys-bench-") as folder:
        work = Path(folder)
        on_step("measuring the machine")
        machine = describe_machine(measure_limits(work))
        sample_s = None
        if source is None:
            on_step(f"generating {ratings:,} ratings")
            started = time.perf_counter()
            source = dataset.write_sample(work / "sample.zip", ratings=ratings).path
            sample_s = round(time.perf_counter() - started, 2)
        home = Home(work / "home")
        with stack.data_services(home):
            return _measure(home, source.absolute(), machine, sample_s, on_step)


def _measure(
    home: Home,
    source: Path,
    machine: dict[str, Any],
    sample_s: float | None,
    on_step: Callable[[str], None],
) -> Whole:
    leaders = {"postgres": Postgres(home).leader(), "s3": S3(home).leader()}
    sampler = Sampler(
        {name: process.pid for name, process in leaders.items() if process is not None}, _name
    )
    on_step("starting Airflow")
    with sampler.running():
        clock = _Clock(sampler, on_step)
        sampler.begin(BETWEEN)
        result = runs.run_once(home, _DAG_ID, {"source": str(source)}, clock.take)
        clock.begin(BETWEEN)
    if not result.succeeded:
        task, error = next(iter(result.errors.items()), ("the run", result.state))
        raise BenchmarkError(
            f"the run of the pipeline failed in {task}",
            found=error.splitlines()[0] if error else None,
            expected="a promoted release",
            hint="run it again with more free memory or disk, or with fewer --ratings",
        )
    settings = PostgresSettings.model_validate({"dsn": stack.environment(home)["RECSYS_PG_DSN"]})
    with connect(settings) as conn:
        made = next(iter(ledger.all_releases(conn)), None)
    if made is None:
        raise BenchmarkError(
            "the run made no candidate", found=result.reason, expected="a promoted release"
        )
    steps = [
        _step(task, seconds, sampler.usage.get(task, {})) for task, seconds in clock.seconds.items()
    ]
    return Whole(
        ratings=made.complete_manifest.serving.interactions,
        zip_mb=round(source.stat().st_size / 1e6, 1),
        machine=machine,
        sample_s=sample_s,
        release_id=made.release_id,
        promoted=made.state is ledger.State.CHAMPION,
        reason=result.reason,
        wall_s=round(sum(step.wall_s for step in steps), 1),
        cpu_s=round(sum(step.cpu_s for step in steps), 1),
        peak_process_mb=max(step.peak_process_mb for step in steps),
        metrics=made.scores.values(),
        steps=steps,
    )


def _step(task: str, seconds: float, usage: dict[str, Usage]) -> Step:
    return Step(
        task=task,
        wall_s=round(seconds, 2),
        cpu_s=round(sum(used.cpu_s for used in usage.values()), 2),
        peak_process_mb=round(max((u.peak_process_mb for u in usage.values()), default=0.0), 1),
        groups={
            name: GroupUsage(
                cpu_s=round(used.cpu_s, 2),
                peak_mb=round(used.peak_mb, 1),
                peak_process_mb=round(used.peak_process_mb, 1),
            )
            for name, used in sorted(usage.items())
            if used.cpu_s >= 0.01
        },
    )


def _name(command: list[str]) -> str:
    """Returns the group of a process by the module that Python runs in it."""
    for flag, module in pairwise(command):
        if flag == "-m":
            return _PROGRAMS.get(module, "pipeline")
    return "pipeline"
