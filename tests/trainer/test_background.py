"""Work beside TensorFlow: the same result in a thread or later, and no error is lost."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from trainer.background import Background


@pytest.mark.parametrize("at_once", [False, True])
def test_the_result_is_what_was_computed_once(at_once: bool) -> None:
    threads: list[str] = []

    def compute() -> int:
        threads.append(threading.current_thread().name)
        return 42

    work = Background(compute, at_once=at_once)
    assert work.result() == 42
    assert threads == ["background" if at_once else "MainThread"]


def test_work_that_waits_is_not_done_before_it_is_asked_for() -> None:
    done: list[int] = []
    work = Background(lambda: done.append(1), at_once=False)
    assert done == []
    work.result()
    assert done == [1]


@pytest.mark.parametrize("at_once", [False, True])
def test_an_error_is_raised_where_the_result_is_asked_for(at_once: bool) -> None:
    def compute() -> None:
        raise MemoryError("no room")

    work = Background(compute, at_once=at_once)
    with pytest.raises(MemoryError, match="no room"):
        work.result()


def test_the_process_ends_without_waiting_for_it() -> None:
    program = (
        "import time; from trainer.background import Background\n"
        "Background(lambda: time.sleep(600), at_once=True); print('end')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "end\n"
