"""Progress of a run: one line for each task, and what the running one is doing."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any, Final

from rich.live import Live
from rich.table import Table

from recsys.cli import output
from recsys.cli.output import console

# As `trainer.progress.EpochRecord` writes it. A trainer with other lines is shown as it is.
_EPOCH: Final = re.compile(
    r"(?P<model>[\w-]+) model epoch (?P<epoch>\d+)(?: of (?P<epochs>\d+))?: loss (?P<loss>[\d.]+)"
    r"(?: validation rmse (?P<rmse>[\d.]+))? \((?P<seconds>[\d.]+) s\)"
)
_MARKS: Final = {"running": "[cyan]●[/]", "success": "[green]✓[/]", "failed": "[red]✗[/]"}


@dataclass(frozen=True)
class Epoch:
    """One epoch that the trainer has ended.

    Attributes:
        model: which of its models.
        epoch: from 1.
        epochs: how many there are at most; None if unknown.
        metric: the newest metric in words.
        seconds: how long the epoch took.
    """

    model: str
    epoch: int
    epochs: int | None
    metric: str
    seconds: float

    @classmethod
    def parse(cls, line: str) -> Epoch | None:
        """Reads a line of the trainer; returns None if it is about something else."""
        found = _EPOCH.search(line)
        if found is None:
            return None
        metric = f"rmse {found['rmse']}" if found["rmse"] else f"loss {found['loss']}"
        epochs = int(found["epochs"]) if found["epochs"] else None
        return cls(found["model"], int(found["epoch"]), epochs, metric, float(found["seconds"]))

    def __str__(self) -> str:
        if self.epochs is None:
            return f"{self.model}: epoch {self.epoch}, {self.metric}"
        left = round((self.epochs - self.epoch) * self.seconds)
        # Early stopping may end it sooner.
        rest = f", ≤{left} s" if left else ""
        return f"{self.model}: epoch {self.epoch} of {self.epochs}, {self.metric}{rest}"


class Progress:
    """Shows one line per task: updated live on a terminal, else printed at its end.

    Attributes:
        live: the table of the tasks, for a terminal.
        run_id: id of the run, once its first task runs.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._began: dict[str, float] = {}
        self._took: dict[str, float] = {}
        self._state: dict[str, str] = {}
        self._line = ""
        self.run_id = ""
        self.live = Live(get_renderable=self._table, console=console, refresh_per_second=4)

    def __call__(self, event: dict[str, Any]) -> None:
        """Takes an event of the run."""
        self.run_id = event.get("run_id") or self.run_id
        if self._quiet:
            return
        if event["event"] == "log":
            self._take_line(str(event["text"]))
        elif event["event"] == "task":
            self._take(event["task_id"], event["state"])

    def _take_line(self, text: str) -> None:
        epoch = Epoch.parse(text)
        self._line = text if epoch is None else str(epoch)
        if epoch is not None and not console.is_terminal:
            console.print(f"    {output.safe(self._line)}")

    def _take(self, task_id: str, state: str) -> None:
        if state == self._state.get(task_id):
            return
        if state == "running":
            self._began[task_id] = time.monotonic()
            self._line = ""
        elif task_id in self._began:
            self._took.setdefault(task_id, time.monotonic() - self._began[task_id])
        if state in ("running", "success", "failed"):
            self._state[task_id] = state
        if state != "running" and task_id in self._took and not console.is_terminal:
            console.print(f"  {task_id:<24} {state:<8} {self._took[task_id]:6.1f} s")

    def _table(self) -> Table:
        shown = output.table("", "task", "       ", "")
        for column in shown.columns:
            column.no_wrap = True
        # The other columns keep their widths; the last one is cut where the terminal ends.
        width = max(map(len, self._state), default=16)
        shown.columns[1].min_width, shown.columns[2].min_width = width, 7
        room = max(console.width - width - 15, 10)
        for task_id, state in self._state.items():
            seconds = self._took.get(task_id, time.monotonic() - self._began.get(task_id, 0.0))
            line = self._line if state == "running" else ""
            shown.add_row(
                *(_MARKS[state], output.safe(task_id), f"{seconds:.1f} s"),
                f"[dim]{output.safe(_cut(line, room))}[/]",
            )
        if not self._state:
            shown.add_row("[cyan]●[/]", "starting the run", "", "[dim]imports Airflow[/]")
        return shown


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"
