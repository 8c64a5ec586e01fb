"""Work beside TensorFlow: the same result with a thread or without, and no error is lost."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from trainer.background import Background


@pytest.mark.parametrize("in_thread", [False, True])
def test_the_result_is_what_was_computed_once(in_thread: bool) -> None:
    threads: list[str] = []

    def compute() -> int:
        threads.append(threading.current_thread().name)
        return 42

    work = Background(compute, in_thread=in_thread)
    assert work.result() == 42
    assert threads == ["background" if in_thread else "MainThread"]


def test_without_a_thread_it_is_done_before_anything_else() -> None:
    done: list[int] = []
    Background(lambda: done.append(1), in_thread=False)
    assert done == [1]


@pytest.mark.parametrize("in_thread", [False, True])
def test_an_error_is_raised_where_the_result_is_asked_for(in_thread: bool) -> None:
    def compute() -> None:
        raise MemoryError("no room")

    work = Background(compute, in_thread=in_thread)
    with pytest.raises(MemoryError, match="no room"):
        work.result()


def test_the_process_ends_without_waiting_for_it() -> None:
    program = (
        "import time; from trainer.background import Background\n"
        "Background(lambda: time.sleep(600), in_thread=True); print('end')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "end\n"
